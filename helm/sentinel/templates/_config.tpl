{{/*
The configuration as it goes into the ConfigMap: the values' own, and what only the chart can know. Never asks for what
the user said otherwise; contradictions are found in _contradictions.tpl.
*/}}
{{- define "sentinel.config" -}}
{{- $config := deepCopy .Values.config }}
{{- $_ := set $config "listen" (default (printf "0.0.0.0:%v" .Values.containerPorts.http) $config.listen) }}
{{- $admin := default dict $config.admin }}
{{- $_ := set $config "admin" (merge (dict) $admin (dict "listen" (printf "0.0.0.0:%v" .Values.containerPorts.admin))) }}
{{- $_ := set $config "log" (merge (dict) (default dict $config.log) (dict "format" "json")) }}
{{- if .Values.keyring.existingSecret }}
{{- $keys := default dict $config.keys }}
{{- $source := merge (dict) (default dict $keys.source) (dict "type" "file" "path" "../keyring/keys.yaml") }}
{{- $_ := set $config "keys" (merge (dict "source" $source) $keys) }}
{{- end }}
{{- if .Values.redis.existingSecret }}
{{- $_ := set $config "redis" (merge (dict) (default dict $config.redis) (dict "url" (dict "file" "../redis/url"))) }}
{{- end }}
{{- if .Values.tls.existingSecret }}
{{- $_ := set $config "tls" (dict "cert" (dict "file" "../tls/tls.crt") "key" (dict "file" "../tls/tls.key")) }}
{{- end }}
{{- if and (eq .Values.mode "sidecar") (not $config.drain) }}
{{- /* It is told to end once the service beside it has ended: nobody is left to wait for. */}}
{{- $_ := set $config "drain" (dict "delay" "0s" "timeout" "5s") }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{/*
Changes when a member changes that a running gateway can not take up, and only then: the same ones as in
src/assembly/running-config.ts, which a test compares. All else is taken up in place, and no pod is replaced for it.
*/}}
{{- define "sentinel.restartChecksum" -}}
{{- $config := fromYaml (include "sentinel.config" .) }}
{{- $keys := default dict $config.keys }}
{{- $parts := dict
  "listen" $config.listen
  "admin.listen" $config.admin.listen
  "workers" $config.workers
  "tls" (hasKey $config "tls")
  "limits" (omit (default dict $config.limits) "headerLines")
  "keys.source" $keys.source
  "keys.cache" $keys.cache
  "redis" $config.redis
  "log.format" $config.log.format
}}
{{- toJson $parts | sha256sum | trunc 16 }}
{{- end }}

{{/* Whole seconds of a duration of the configuration, rounded up; "unknown" where it is filled from the environment. */}}
{{- define "sentinel.seconds" -}}
{{- $number := regexFind "^[0-9]+" . }}
{{- $unit := trimPrefix $number . }}
{{- if eq $unit "ms" }}{{ div (add (atoi $number) 999) 1000 }}
{{- else if eq $unit "s" }}{{ atoi $number }}
{{- else if eq $unit "m" }}{{ mul (atoi $number) 60 }}
{{- else if eq $unit "h" }}{{ mul (atoi $number) 3600 }}
{{- else }}unknown
{{- end }}
{{- end }}

{{/* Seconds that SIGTERM may take by the configuration: drain.delay and drain.timeout, or "unknown". */}}
{{- define "sentinel.drainSeconds" -}}
{{- $drain := default dict (fromYaml (include "sentinel.config" .)).drain }}
{{- $delay := include "sentinel.seconds" (default "5s" $drain.delay) }}
{{- $timeout := include "sentinel.seconds" (default "20s" $drain.timeout) }}
{{- if or .Values.existingConfigMap (eq $delay "unknown") (eq $timeout "unknown") }}unknown
{{- else }}{{ add (atoi $delay) (atoi $timeout) }}
{{- end }}
{{- end }}

{{/* 10 s more than the drain, for workers to be ended and the log to be written. */}}
{{- define "sentinel.terminationGracePeriodSeconds" -}}
{{- $drain := include "sentinel.drainSeconds" . }}
{{- if .Values.terminationGracePeriodSeconds }}{{ int .Values.terminationGracePeriodSeconds }}
{{- else if eq $drain "unknown" }}35
{{- else }}{{ add (atoi $drain) 10 }}
{{- end }}
{{- end }}

{{- define "sentinel.scheme" -}}
{{ if or .Values.tls.existingSecret .Values.config.tls }}https{{ else }}http{{ end }}
{{- end }}
