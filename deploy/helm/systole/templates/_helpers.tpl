{{- define "systole.labels" -}}
app.kubernetes.io/name: systole
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "systole.collectorName" -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}-collector
{{- end }}

{{- define "systole.agentName" -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}-agent
{{- end }}

{{- define "systole.tag" -}}
{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "systole.url" -}}
{{- if .Values.collector.enabled -}}
{{ ternary "https" "http" (ne .Values.collector.tlsSecret "") }}://{{ include "systole.collectorName" . }}.{{ .Release.Namespace }}.svc:8080
{{- else -}}
{{ .Values.collector.url }}
{{- end -}}
{{- end }}

{{- define "systole.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}
