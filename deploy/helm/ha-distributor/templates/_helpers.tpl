{{- define "ha-distributor.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "ha-distributor.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "ha-distributor.selectorLabels" -}}
app.kubernetes.io/name: {{ include "ha-distributor.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ha-distributor.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "ha-distributor.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "ha-distributor.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "ha-distributor.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "ha-distributor.image" -}}
{{- $name := .Values.image.repository -}}
{{- if .Values.image.registry -}}
{{- $name = printf "%s/%s" .Values.image.registry $name -}}
{{- end -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $name .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Members of another release, or of another namespace, are not taken for ours. */}}
{{- define "ha-distributor.clusterLabel" -}}
{{- printf "%s.%s" .Release.Name .Release.Namespace -}}
{{- end -}}

{{- define "ha-distributor.gossipHost" -}}
{{- printf "%s-gossip.%s.svc.%s" (include "ha-distributor.fullname" .) .Release.Namespace .Values.clusterDomain -}}
{{- end -}}

{{- define "ha-distributor.gossipAddress" -}}
{{- printf "%s:%v" (include "ha-distributor.gossipHost" .) .Values.ports.gossip -}}
{{- end -}}

{{/* Milliseconds of a duration as the configuration has it: 1h2m3s, 500ms. */}}
{{- define "ha-distributor.milliseconds" -}}
{{- $sum := 0.0 -}}
{{- range regexFindAll "[0-9.]+(ms|h|m|s)" (toString .) -1 -}}
{{- $number := regexFind "^[0-9.]+" . | float64 -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- $factor := get (dict "h" 3600000 "m" 60000 "s" 1000 "ms" 1) $unit | float64 -}}
{{- $sum = addf $sum (mulf $number $factor) -}}
{{- end -}}
{{- ceil $sum | int64 -}}
{{- end -}}

{{/* How long a pod may take to end, in seconds: from the configuration that it is given. */}}
{{- define "ha-distributor.gracePeriod" -}}
{{- if not (kindIs "invalid" .Values.terminationGracePeriodSeconds) -}}
{{- .Values.terminationGracePeriodSeconds | int64 -}}
{{- else -}}
{{- $config := include "ha-distributor.calculatedConfig" . | fromYaml -}}
{{- $server := default dict $config.server -}}
{{- $tracker := default dict (default dict $config.distributor).ha_tracker -}}
{{- $multi := default dict (default dict $tracker.kvstore).multi -}}
{{- $memberlist := default dict $config.memberlist -}}
{{- $parts := list
    (default "30s" $server.graceful_shutdown_timeout)
    (default "0s" $config.shutdown_delay)
    (default "0s" $server.shutdown_delay)
    (default "2s" $multi.mirror_timeout)
    (default "20s" $memberlist.leave_timeout)
    "10s" -}}
{{- $sum := 0 -}}
{{- range $parts -}}
{{- $sum = add $sum (include "ha-distributor.milliseconds" . | int64) -}}
{{- end -}}
{{- divf $sum 1000 | ceil | int64 -}}
{{- end -}}
{{- end -}}
