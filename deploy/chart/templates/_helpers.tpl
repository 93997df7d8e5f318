{{- define "shoal.name" -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "shoal.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{- define "shoal.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "shoal.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{- define "shoal.probes" -}}
startupProbe: { httpGet: { path: /readyz, port: {{ .port }}{{ with .host }}, host: {{ . }}{{ end }} }, periodSeconds: 2, failureThreshold: 60 }
livenessProbe: { httpGet: { path: /healthz, port: {{ .port }}{{ with .host }}, host: {{ . }}{{ end }} }, periodSeconds: 20, timeoutSeconds: 5 }
readinessProbe: { httpGet: { path: /readyz, port: {{ .port }}{{ with .host }}, host: {{ . }}{{ end }} }, periodSeconds: 5, timeoutSeconds: 5 }
{{- end -}}
