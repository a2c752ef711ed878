{{- define "rlhf.labels" -}}
app.kubernetes.io/name: rlhf-service
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "rlhf.selector" -}}
app.kubernetes.io/name: rlhf-service
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "rlhf.pod-security" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "rlhf.container-security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: {{ .readOnly }}
capabilities: {drop: [ALL]}
{{- end }}

{{- define "rlhf.pull" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "rlhf.claim" -}}
{{ .Values.storage.existingClaim | default (printf "%s-storage" .Release.Name) }}
{{- end }}

{{- define "rlhf.auth-secret" -}}
{{ .Values.ray.authSecret | default (printf "%s-ray-auth" .Release.Name) }}
{{- end }}

{{- define "rlhf.api-key-secret" -}}
{{ .Values.controlPlane.apiKeySecret | default (printf "%s-api-key" .Release.Name) }}
{{- end }}

{{- define "rlhf.metrics-secret" -}}
{{ .Values.monitoring.tokenSecret | default (printf "%s-metrics" .Release.Name) }}
{{- end }}

{{- define "rlhf.database-secret" -}}
{{- if .Values.database.trial.enabled -}}
{{ .Release.Name }}-database
{{- else -}}
{{ required "database.urlSecret: name a secret with a PostgreSQL URL under `url`, or set database.trial.enabled" .Values.database.urlSecret }}
{{- end -}}
{{- end }}

{{/* A value kept over upgrades: the one in the cluster, else a new one. */}}
{{- define "rlhf.kept" -}}
{{- $found := lookup "v1" "Secret" .root.Release.Namespace .name -}}
{{- if $found }}{{ index $found.data .key }}{{ else }}{{ randAlphaNum 40 | b64enc }}{{ end -}}
{{- end }}

{{- define "rlhf.control-plane-env" -}}
- name: RLHF_STORAGE
  value: /storage
- name: RLHF_HOST
  value: 0.0.0.0
- name: RLHF_PORT
  value: "8000"
- name: RLHF_MIGRATE
  value: "false"
{{- if eq .Values.launcher "kuberay" }}
- name: RLHF_LAUNCHER
  value: kuberay
- name: RLHF_KUBERAY_FILE
  value: /etc/rlhf/kuberay.yaml
{{- else }}
- name: RLHF_RAY_ADDRESS
  value: http://{{ .Release.Name }}-ray-head-svc:8265
{{- end }}
- name: RLHF_PUBLIC_URL
  value: http://{{ .Release.Name }}:8000
- name: RAY_AUTH_MODE
  value: token
- name: RAY_AUTH_TOKEN
  valueFrom: {secretKeyRef: {name: {{ include "rlhf.auth-secret" . }}, key: auth_token}}
- name: RLHF_DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ include "rlhf.database-secret" . }}, key: url}}
- name: RLHF_BOOTSTRAP_KEY
  valueFrom: {secretKeyRef: {name: {{ include "rlhf.api-key-secret" . }}, key: api-key}}
{{- range $name, $value := include "rlhf.cluster-settings" . | fromYaml }}
{{- if not (hasKey $.Values.controlPlane.settings $name) }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- with .Values.storage.artefacts }}
- name: RLHF_ARTEFACTS
  value: {{ . }}
{{- end }}
{{- if .Values.monitoring.enabled }}
- name: RLHF_METRICS_TOKEN
  valueFrom: {secretKeyRef: {name: {{ include "rlhf.metrics-secret" . }}, key: token}}
{{- end }}
{{- range $name, $value := .Values.controlPlane.settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{/* Any pod of this release whose component is one of a list. Arguments: root, components. */}}
{{- define "rlhf.pods-of" -}}
matchExpressions:
  - {key: app.kubernetes.io/instance, operator: In, values: [{{ .root.Release.Name }}]}
  - {key: app.kubernetes.io/component, operator: In, values: [{{ join ", " .components }}]}
{{- end }}

{{/* Credentials of the store that copies go to. */}}
{{- define "rlhf.artefacts-env" -}}
{{- with .Values.storage.artefactsSecret }}
envFrom:
  - secretRef: {name: {{ . }}}
{{- end }}
{{- end }}
