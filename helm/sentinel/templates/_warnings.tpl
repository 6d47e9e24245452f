{{/* What works and may not be meant: lines for NOTES.txt. */}}
{{- define "sentinel.warnings" -}}
{{- $open := list }}
{{- range default list .Values.config.routes }}
{{- if eq (default "" .auth) "none" }}{{- $open = append $open .name }}{{- end }}
{{- end }}
{{- with $open }}
- Open to anyone, without a key: {{ join ", " . }}.
{{- end }}
{{- if and .Values.config (not .Values.config.trustedProxies) (or .Values.ingress.enabled .Values.httpRoute.enabled) }}
- config.trustedProxies is empty: the log shows the proxy's address in place of the client's, and upstreams see http.
{{- end }}
{{- if .Values.existingConfigMap }}
- The chart does not see what is in {{ .Values.existingConfigMap }}: its listen must be 0.0.0.0:{{ .Values.containerPorts.http }}, its admin.listen
  0.0.0.0:{{ .Values.containerPorts.admin }}, and drain.delay and drain.timeout together at most {{ sub (include "sentinel.terminationGracePeriodSeconds" . | atoi) 10 }} s. A change that needs a restart needs
  kubectl rollout restart.
{{- end }}
{{- if eq .Values.mode "gateway" }}
{{- if eq (include "sentinel.leastReplicas" . | atoi) 1 }}
- There is one pod: while its node is drained, nobody is served.
{{- end }}
{{- if and .Values.adminService.enabled (not .Values.networkPolicy.enabled) }}
- Every pod of the cluster can read the admin port (routes, upstreams, figures): networkPolicy.enabled closes it.
{{- end }}
{{- $delay := include "sentinel.seconds" (default "5s" (default dict .Values.config.drain).delay) }}
{{- if and (ne $delay "unknown") (lt (atoi $delay) 3) }}
- drain.delay is {{ $delay }} s: load balancers that hear of the end of a pod later than that see connections refused.
{{- end }}
{{- end }}
{{- end }}
