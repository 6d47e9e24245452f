{{- define "sentinel.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Short enough for what is put behind it (-admin, -dashboard). */}}
{{- define "sentinel.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "sentinel.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "sentinel.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "sentinel.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "sentinel.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "sentinel.configMapName" -}}
{{- default (include "sentinel.fullname" .) .Values.existingConfigMap }}
{{- end }}

{{- define "sentinel.image" -}}
{{- $name := list .Values.image.registry .Values.image.repository | compact | join "/" }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $name .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* By which Services and the like find the pods: never changes while a release lives. */}}
{{- define "sentinel.selectorLabels" -}}
{{- /* toYaml puts quotes around a release that is called 2026 or true. */}}
{{- toYaml (dict "app.kubernetes.io/name" (include "sentinel.name" .) "app.kubernetes.io/instance" .Release.Name) }}
{{- end }}

{{/* Labels of everything but pods that a selector could mistake for gateways. */}}
{{- define "sentinel.ownLabels" -}}
{{- $own := dict
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
}}
{{- toYaml (merge (dict) (default dict .Values.commonLabels) $own) }}
{{- end }}

{{/*
The metadata of one object: (dict "root" $ "name" N "labels" {} "annotations" {}). Each name is there once: what is said of
this object before what is said of all.
*/}}
{{- define "sentinel.metadata" -}}
{{- $annotations := merge (dict) (default dict .annotations) (default dict .root.Values.commonAnnotations) -}}
{{- $own := fromYaml (include "sentinel.ownLabels" .root) -}}
{{- $labels := merge (fromYaml (include "sentinel.selectorLabels" .root)) (default dict .labels) $own -}}
name: {{ toYaml .name }}
namespace: {{ toYaml .root.Release.Namespace }}
labels:
  {{- toYaml $labels | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The names of the ports: a pod has each only once, and `http` may be the guarded container's. */}}
{{- define "sentinel.httpPortName" -}}
{{ eq .Values.mode "sidecar" | ternary "sentinel" "http" }}
{{- end }}
{{- define "sentinel.adminPortName" -}}
{{ eq .Values.mode "sidecar" | ternary "sentinel-admin" "admin" }}
{{- end }}
