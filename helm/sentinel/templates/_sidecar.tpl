{{/*
For a parent chart whose pods Sentinel guards. It depends on this chart with `mode: sidecar` and hands over the subchart's
own context:

  template:
    metadata:
      labels: {{- include "sentinel.sidecarLabels" .Subcharts.sentinel | nindent 8 }}
      annotations: {{- include "sentinel.sidecarAnnotations" .Subcharts.sentinel | nindent 8 }}
    spec:
      initContainers: {{- include "sentinel.sidecar" .Subcharts.sentinel | nindent 8 }}
      volumes: {{- include "sentinel.sidecarVolumes" .Subcharts.sentinel | nindent 8 }}

The service has to listen on 127.0.0.1 and the Service to point at the port `sentinel`; else nothing is guarded.
*/}}

{{/* One entry of initContainers: with restartPolicy Always it starts before the service and ends after it. */}}
{{- define "sentinel.sidecar" -}}
{{- include "sentinel.requireSidecarMode" . -}}
- name: sentinel
  restartPolicy: Always
  {{- $args := fromJsonArray (include "sentinel.startArgs" .) }}
  {{- include "sentinel.container" (dict "root" . "resources" .Values.sidecar.resources "args" $args) | nindent 2 }}
  {{- include "sentinel.portsAndProbes" . | nindent 2 }}
{{- end }}

{{/* Entries of volumes. */}}
{{- define "sentinel.sidecarVolumes" -}}
{{- include "sentinel.requireSidecarMode" . -}}
{{ include "sentinel.volumes" . }}
{{- end }}

{{/* Annotations of the pod: replaces pods for a change that the running sidecar can not take up. */}}
{{- define "sentinel.sidecarAnnotations" -}}
{{- include "sentinel.requireSidecarMode" . -}}
checksum/sentinel-restart: {{ include "sentinel.restartChecksum" . | quote }}
{{- end }}

{{/* Labels of the pod: by them the PodMonitor finds it. */}}
{{- define "sentinel.sidecarLabels" -}}
sentinel-sidecar: {{ include "sentinel.fullname" . }}
{{- end }}

{{- define "sentinel.requireSidecarMode" -}}
{{- if ne .Values.mode "sidecar" }}
{{- fail (printf "\n\nThe templates of a sidecar were used, but mode is %s. Set `mode: sidecar` for the subchart.\n" .Values.mode) }}
{{- end }}
{{- end }}
