{{/*
Sentinel's container: (dict "root" $ "resources" {} "args" []). `args` are those of the program. The whole folder is mounted,
never a single file (subPath): only then does a changed ConfigMap or Secret reach the running gateway.
*/}}
{{- define "sentinel.container" -}}
{{- $root := .root -}}
image: {{ include "sentinel.image" $root }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
args: {{ toJson .args }}
{{- with $root.Values.env }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - name: sentinel-config
    mountPath: /etc/sentinel/config
    readOnly: true
  {{- range $name, $secret := dict "keyring" $root.Values.keyring "redis" $root.Values.redis "tls" $root.Values.tls }}
  {{- if $secret.existingSecret }}
  - name: sentinel-{{ $name }}
    mountPath: /etc/sentinel/{{ $name }}
    readOnly: true
  {{- end }}
  {{- end }}
  {{- with $root.Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "sentinel.startArgs" -}}
{{- concat (list "start" "-c" "/etc/sentinel/config/sentinel.yaml") .Values.extraArgs | toJson }}
{{- end }}

{{- define "sentinel.portsAndProbes" -}}
{{- $admin := include "sentinel.adminPortName" . -}}
ports:
  - name: {{ include "sentinel.httpPortName" . }}
    containerPort: {{ .Values.containerPorts.http }}
    protocol: TCP
  - name: {{ $admin }}
    containerPort: {{ .Values.containerPorts.admin }}
    protocol: TCP
{{- /* `null` takes one out. */}}
{{- with .Values.startupProbe }}
startupProbe:
  httpGet: { path: /livez, port: {{ $admin }} }
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.livenessProbe }}
livenessProbe:
  httpGet: { path: /livez, port: {{ $admin }} }
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.readinessProbe }}
readinessProbe:
  httpGet: { path: /readyz, port: {{ $admin }} }
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "sentinel.volumes" -}}
{{- /* Without an fsGroup the files of a Secret are root's: then everyone in the container, which is Sentinel, may read. */}}
{{- $isGroups := and (eq .Values.mode "gateway") (hasKey (default dict .Values.podSecurityContext) "fsGroup") }}
{{- $mode := $isGroups | ternary "0440" "0444" -}}
- name: sentinel-config
  configMap:
    name: {{ include "sentinel.configMapName" . }}
{{- with .Values.keyring.existingSecret }}
- name: sentinel-keyring
  secret:
    secretName: {{ . }}
    defaultMode: {{ $mode }}
    items: [{ key: {{ $.Values.keyring.key | quote }}, path: keys.yaml }]
{{- end }}
{{- with .Values.redis.existingSecret }}
- name: sentinel-redis
  secret:
    secretName: {{ . }}
    defaultMode: {{ $mode }}
    items: [{ key: {{ $.Values.redis.key | quote }}, path: url }]
{{- end }}
{{- with .Values.tls.existingSecret }}
- name: sentinel-tls
  secret:
    secretName: {{ . }}
    defaultMode: {{ $mode }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
