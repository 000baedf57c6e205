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

{{/* The section of gossip: at the top level, or with the store; the inner one wins. */}}
{{- define "ha-distributor.memberlist" -}}
{{- $kvstore := default dict (default dict (default dict .distributor).ha_tracker).kvstore -}}
{{- toYaml (mergeOverwrite (dict) (deepCopy (default dict .memberlist)) (deepCopy (default dict $kvstore.memberlist))) -}}
{{- end -}}

{{/* How long a pod may take to end, in seconds: from the configuration that it is given. */}}
{{- define "ha-distributor.gracePeriod" -}}
{{- if not (kindIs "invalid" .Values.terminationGracePeriodSeconds) -}}
{{- .Values.terminationGracePeriodSeconds | int64 -}}
{{- else if .Values.existingConfig -}}
{{- fail "existingConfig: the chart cannot see that configuration: set terminationGracePeriodSeconds to at least shutdown_delay + server.graceful_shutdown_timeout + multi.mirror_timeout + memberlist.leave_timeout" -}}
{{- else -}}
{{- $config := include "ha-distributor.calculatedConfig" . | fromYaml -}}
{{- $server := default dict $config.server -}}
{{- $tracker := default dict (default dict $config.distributor).ha_tracker -}}
{{- $multi := default dict (default dict $tracker.kvstore).multi -}}
{{- $memberlist := include "ha-distributor.memberlist" $config | fromYaml -}}
{{- $parts := list
    (default "0s" $config.shutdown_delay)
    (default "30s" $server.graceful_shutdown_timeout)
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

{{/* "https" if the section (http_tls_config, grpc_tls_config) of the server has a certificate, else "http". */}}
{{- define "ha-distributor.scheme" -}}
{{- $tls := default dict . -}}
{{- ternary "https" "http" (or (not (empty $tls.cert_file)) (not (empty $tls.cert))) -}}
{{- end -}}

{{- define "ha-distributor.httpScheme" -}}
{{- if .Values.existingConfig -}}
http
{{- else -}}
{{- $config := include "ha-distributor.calculatedConfig" . | fromYaml -}}
{{- include "ha-distributor.scheme" (default dict $config.server).http_tls_config -}}
{{- end -}}
{{- end -}}

{{/* A probe: that of the values if it says how, else a GET of `path`. The kubelet has no certificate, so
where the server requires one, the probe only connects. */}}
{{- define "ha-distributor.probe" -}}
{{- $root := .root -}}
{{- $probe := .probe -}}
{{- if not (or $probe.httpGet $probe.tcpSocket $probe.exec $probe.grpc) -}}
{{- $config := dict -}}
{{- if not $root.Values.existingConfig -}}
{{- $config = include "ha-distributor.calculatedConfig" $root | fromYaml -}}
{{- end -}}
{{- $tls := default dict (default dict $config.server).http_tls_config -}}
{{- if has $tls.client_auth_type (list "RequireAnyClientCert" "RequireAndVerifyClientCert") -}}
tcpSocket:
  port: http
{{ else -}}
httpGet:
  path: {{ .path }}
  port: http
  {{- if eq (include "ha-distributor.scheme" $tls) "https" }}
  scheme: HTTPS
  {{- end }}
{{ end -}}
{{- end -}}
{{- toYaml $probe -}}
{{- end -}}

{{/* Every distributor, ready or not, for commands that ask each of them. */}}
{{- define "ha-distributor.targets" -}}
{{- $scheme := include "ha-distributor.httpScheme" . -}}
dns+{{ if eq $scheme "https" }}https://{{ end }}{{ include "ha-distributor.gossipHost" . }}:{{ .Values.ports.http }}
{{- end -}}

{{/* The label `job` of the distributors in Prometheus. */}}
{{- define "ha-distributor.job" -}}
{{- tpl .Values.serviceMonitor.job . -}}
{{- end -}}
