{{/* Values that are each well-formed and together mean nothing. All of them are told at once. */}}
{{- define "sentinel.contradictions" -}}
{{- $values := .Values }}
{{- $config := fromYaml (include "sentinel.config" .) }}
{{- $found := list }}

{{- /* The configuration */}}
{{- if and .Values.config .Values.existingConfigMap }}
{{- $found = append $found "`config` and `existingConfigMap` are both given: keep one." }}
{{- else if not (or .Values.config .Values.existingConfigMap) }}
{{- $found = append $found "There is no configuration: give `config`, or the name of a ConfigMap as `existingConfigMap`." }}
{{- end }}
{{- if .Values.config }}
{{- range $member, $port := dict "listen" (list $config.listen "http") "admin.listen" (list $config.admin.listen "admin") }}
{{- $address := index $port 0 }}
{{- $expected := index $values.containerPorts (index $port 1) }}
{{- if not (contains "${" $address) }}
{{- if regexMatch "^(127\\.|localhost|\\[::1\\]|unix:)" $address }}
{{- $found = append $found (printf "`config.%s` is %s, which nothing outside the container can reach: leave it out, or use 0.0.0.0:%v." $member $address $expected) }}
{{- else if not (hasSuffix (printf ":%v" $expected) $address) }}
{{- $found = append $found (printf "`config.%s` is %s, but `containerPorts.%s` is %v: give the port once, as `containerPorts.%s`." $member $address (index $port 1) $expected (index $port 1)) }}
{{- end }}
{{- end }}
{{- end }}
{{- $keys := default dict $config.keys }}
{{- $source := default dict $keys.source }}
{{- if not $source.type }}
{{- $found = append $found "Nothing says where keys come from: give `keyring.existingSecret`, or `config.keys.source`." }}
{{- else if and (eq $source.type "file") (not $source.path) }}
{{- $found = append $found "`config.keys.source` is a keyring file: give `keyring.existingSecret`, or its `path` on a volume of `extraVolumes`." }}
{{- else if and (eq $source.type "redis") (not (or .Values.redis.existingSecret $config.redis)) }}
{{- $found = append $found "`config.keys.source` is redis: say where it is with `redis.existingSecret` or `config.redis`." }}
{{- end }}
{{- if and .Values.keyring.existingSecret $source.type (ne $source.type "file") }}
{{- $found = append $found (printf "`keyring.existingSecret` is a keyring file, but `config.keys.source.type` is %s: keep one." $source.type) }}
{{- end }}
{{- if and .Values.keyring.existingSecret (eq $source.type "file") (ne $source.path "../keyring/keys.yaml") }}
{{- $found = append $found "`keyring.existingSecret` and `config.keys.source.path` both name the keyring: keep one." }}
{{- end }}
{{- $redis := default dict .Values.config.redis }}
{{- if and .Values.redis.existingSecret (or $redis.url $redis.sentinels $redis.cluster) }}
{{- $found = append $found "`redis.existingSecret` and `config.redis` both say where Redis is: keep one." }}
{{- end }}
{{- if and .Values.tls.existingSecret .Values.config.tls }}
{{- $found = append $found "`tls.existingSecret` and `config.tls` both name a certificate: keep one." }}
{{- end }}
{{- range fromJsonArray (include "sentinel.routeMistakes" $config) }}
{{- $found = append $found . }}
{{- end }}
{{- end }}
{{- if eq (int .Values.containerPorts.http) (int .Values.containerPorts.admin) }}
{{- $found = append $found "`containerPorts.http` and `containerPorts.admin` are the same: clients and operators need a port each." }}
{{- end }}

{{- /* What Services and budgets find pods by */}}
{{- range $name, $labels := dict "commonLabels" .Values.commonLabels "podLabels" .Values.podLabels }}
{{- range $label := list "app.kubernetes.io/name" "app.kubernetes.io/instance" }}
{{- if hasKey (default dict $labels) $label }}
{{- $found = append $found (printf "`%s` names %s, by which the Service finds the pods: leave it out%s." $name $label (eq $label "app.kubernetes.io/name" | ternary ", or give `nameOverride`" "")) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The end of a pod */}}
{{- $drain := include "sentinel.drainSeconds" . }}
{{- if and .Values.terminationGracePeriodSeconds (ne $drain "unknown") (lt (int .Values.terminationGracePeriodSeconds) (add (atoi $drain) 5)) }}
{{- $found = append $found (printf "`terminationGracePeriodSeconds` is %v, but drain.delay and drain.timeout take %s s: give at least %v, or leave it out." .Values.terminationGracePeriodSeconds $drain (add (atoi $drain) 5)) }}
{{- end }}
{{- if and .Values.config (not .Values.existingConfigMap) (eq $drain "unknown") (not .Values.terminationGracePeriodSeconds) (eq .Values.mode "gateway") }}
{{- $found = append $found "`config.drain` is filled from the environment, which the chart can not read: give `terminationGracePeriodSeconds`." }}
{{- end }}

{{- /* Monitoring */}}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled }}
{{- $found = append $found "`serviceMonitor` and `podMonitor` are both enabled: everything would be counted twice." }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled (not .Values.adminService.enabled) }}
{{- $found = append $found "`serviceMonitor` scrapes the admin Service, but `adminService.enabled` is false: use `podMonitor`." }}
{{- end }}
{{- range $name, $monitor := dict "serviceMonitor" .Values.serviceMonitor "podMonitor" .Values.podMonitor }}
{{- $interval := include "sentinel.seconds" $monitor.interval }}
{{- $timeout := include "sentinel.seconds" $monitor.scrapeTimeout }}
{{- if and $monitor.enabled (gt (atoi $timeout) (atoi $interval)) }}
{{- $found = append $found (printf "`%s.scrapeTimeout` is longer than its `interval`: Prometheus refuses that." $name) }}
{{- end }}
{{- end }}
{{- if .Values.prometheusRule.disabled }}
{{- $alerts := list }}
{{- range (fromYaml (.Files.Get "files/alerts.yaml")).groups }}
{{- range .rules }}{{- $alerts = append $alerts .alert }}{{- end }}
{{- end }}
{{- range .Values.prometheusRule.disabled }}
{{- if not (has . $alerts) }}
{{- $found = append $found (printf "`prometheusRule.disabled` names %s, but there is no such alert. There are %s." . (join ", " $alerts)) }}
{{- end }}
{{- end }}
{{- end }}

{{- if eq .Values.mode "sidecar" }}
{{- range $name := list "ingress" "httpRoute" "autoscaling" "networkPolicy" "serviceMonitor" }}
{{- if (index $values $name).enabled }}
{{- $found = append $found (printf "`%s` is enabled, but `mode` is sidecar: pods and Services are the parent chart's%s." $name (eq $name "serviceMonitor" | ternary ", use `podMonitor`" "")) }}
{{- end }}
{{- end }}
{{- if .Values.config }}
{{- $local := list }}
{{- range $upstream := default list $config.upstreams }}
{{- range $target := $upstream.targets }}
{{- $url := kindIs "map" $target | ternary (get (kindIs "map" $target | ternary $target dict) "url") $target }}
{{- if regexMatch "^https?://(127\\.|localhost[:/]|localhost$|\\[::1\\]|\\$\\{)" (toString $url) }}{{- $local = append $local $url }}{{- end }}
{{- end }}
{{- end }}
{{- if not $local }}
{{- $found = append $found "`mode` is sidecar, but no upstream is on 127.0.0.1: the service beside Sentinel has to be reached there." }}
{{- end }}
{{- end }}
{{- else }}
{{- /* Pods and what leads to them */}}
{{- if .Values.autoscaling.enabled }}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) }}
{{- $found = append $found (printf "`autoscaling.minReplicas` is %v and `maxReplicas` %v." .Values.autoscaling.minReplicas .Values.autoscaling.maxReplicas) }}
{{- end }}
{{- $requests := default dict .Values.resources.requests }}
{{- if and .Values.autoscaling.targetCPUUtilizationPercentage (not $requests.cpu) }}
{{- $found = append $found "`autoscaling` counts per cent of the CPU request: give `resources.requests.cpu`." }}
{{- end }}
{{- if and .Values.autoscaling.targetMemoryUtilizationPercentage (not $requests.memory) }}
{{- $found = append $found "`autoscaling` counts per cent of the memory request: give `resources.requests.memory`." }}
{{- end }}
{{- if not (or .Values.autoscaling.targetCPUUtilizationPercentage .Values.autoscaling.targetMemoryUtilizationPercentage .Values.autoscaling.metrics) }}
{{- $found = append $found "`autoscaling` is enabled without anything to go by: give a target percentage, or `metrics`." }}
{{- end }}
{{- end }}
{{- $budget := .Values.podDisruptionBudget }}
{{- if $budget.enabled }}
{{- $pods := include "sentinel.leastReplicas" . | atoi }}
{{- if and (not (kindIs "invalid" $budget.minAvailable)) (not (kindIs "invalid" $budget.maxUnavailable)) }}
{{- $found = append $found "`podDisruptionBudget` has both `minAvailable` and `maxUnavailable`: keep one." }}
{{- else if and (not (kindIs "invalid" $budget.minAvailable)) (or (eq (toString $budget.minAvailable) "100%") (and (not (kindIs "string" $budget.minAvailable)) (gt $pods 1) (ge (int $budget.minAvailable) $pods))) }}
{{- $found = append $found (printf "`podDisruptionBudget.minAvailable` is %v of at least %d pods: no node could ever be drained." $budget.minAvailable $pods) }}
{{- else if has (toString $budget.maxUnavailable) (list "0" "0%") }}
{{- $found = append $found "`podDisruptionBudget.maxUnavailable` is 0: no node could ever be drained." }}
{{- end }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- $found = append $found "`ingress` is enabled without `ingress.hosts`." }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- $found = append $found "`httpRoute` is enabled without `httpRoute.parentRefs`: no Gateway would take it up." }}
{{- end }}
{{- if and .Values.service.nodePort (eq .Values.service.type "ClusterIP") }}
{{- $found = append $found "`service.nodePort` is given, but `service.type` is ClusterIP." }}
{{- end }}
{{- if and .Values.service.externalTrafficPolicy (eq .Values.service.type "ClusterIP") }}
{{- $found = append $found "`service.externalTrafficPolicy` is given, but `service.type` is ClusterIP." }}
{{- end }}
{{- if and .Values.service.loadBalancerSourceRanges (ne .Values.service.type "LoadBalancer") }}
{{- $found = append $found (printf "`service.loadBalancerSourceRanges` is given, but `service.type` is %s." .Values.service.type) }}
{{- end }}
{{- end }}

{{- with $found }}
{{- fail (printf "\n\n%s\n" (join "\n" .)) }}
{{- end }}
{{- end }}

{{- define "sentinel.leastReplicas" -}}
{{ .Values.autoscaling.enabled | ternary .Values.autoscaling.minReplicas .Values.replicaCount | int }}
{{- end }}
