{{/*
The configuration, as Grafana's mimir-distributed chart composes its own: the text is rendered, parsed,
merged with the map (whose values win, and whose lists replace), printed and rendered again.
*/}}
{{- define "ha-distributor.calculatedConfig" -}}
{{- $text := tpl .Values.config . | fromYaml -}}
{{- if hasKey $text "Error" -}}
{{- fail (printf "config is not YAML: %s" $text.Error) -}}
{{- end -}}
{{- $migration := include "ha-distributor.migrationConfig" . | fromYaml -}}
{{- $merged := mergeOverwrite $text $migration (deepCopy .Values.structuredConfig) -}}
{{- include "ha-distributor.checkMigration" (dict "root" . "config" $merged) -}}
{{- tpl (toYaml $merged) . -}}
{{- end -}}

{{/* What a step of the migration sets. */}}
{{- define "ha-distributor.migrationConfig" -}}
{{- if not (kindIs "invalid" .Values.migration.step) -}}
{{- $step := .Values.migration.step | int -}}
{{- $from := .Values.migration.from -}}
distributor:
  ha_tracker:
    kvstore:
      {{- if eq $step 0 }}
      store: {{ $from }}
      {{- else if eq $step 5 }}
      store: memberlist
      {{- else }}
      store: multi
      multi:
        primary: {{ ternary "memberlist" $from (ge $step 3) }}
        secondary: {{ ternary $from "memberlist" (ge $step 3) }}
        mirror_enabled: {{ or (eq $step 2) (eq $step 3) }}
      {{- end }}
      {{- if and (lt $step 5) .Values.migration.oldStore }}
      {{ $from }}:
        {{- toYaml .Values.migration.oldStore | nindent 8 }}
      {{- end }}
{{- end -}}
{{- end -}}

{{- define "ha-distributor.stepName" -}}
{{ include "ha-distributor.fullname" . }}-migration
{{- end -}}

{{/* The step that a `kvstore` section is. */}}
{{- define "ha-distributor.stepOf" -}}
{{- $multi := default dict .multi -}}
{{- if eq (default "memberlist" .store) "memberlist" -}}
5
{{- else if ne .store "multi" -}}
0
{{- else if eq $multi.primary "memberlist" -}}
{{- ternary 3 4 (eq (toString $multi.mirror_enabled) "true") -}}
{{- else -}}
{{- ternary 2 1 (eq (toString $multi.mirror_enabled) "true") -}}
{{- end -}}
{{- end -}}

{{- define "ha-distributor.kvstoreOf" -}}
{{- default dict (default dict (default dict .distributor).ha_tracker).kvstore | toYaml -}}
{{- end -}}

{{/* The step that is in effect: as said, or as the cluster has it: in the chart's own record, else in the
configuration of the release. Empty if none is known. */}}
{{- define "ha-distributor.currentStep" -}}
{{- if not (kindIs "invalid" .Values.migration.currentStep) -}}
{{- .Values.migration.currentStep | int -}}
{{- else -}}
{{- $record := lookup "v1" "ConfigMap" .Release.Namespace (include "ha-distributor.stepName" .) -}}
{{- $name := printf "%s-config" (include "ha-distributor.fullname" .) -}}
{{- $secret := lookup "v1" "Secret" .Release.Namespace $name -}}
{{- $configMap := lookup "v1" "ConfigMap" .Release.Namespace $name -}}
{{- if $record -}}
{{- get $record.data "step" -}}
{{- else if $secret -}}
{{- $config := get (default dict $secret.data) "distributor.yaml" | b64dec | fromYaml -}}
{{- include "ha-distributor.stepOf" (include "ha-distributor.kvstoreOf" $config | fromYaml) -}}
{{- else if $configMap -}}
{{- $config := get (default dict $configMap.data) "distributor.yaml" | fromYaml -}}
{{- include "ha-distributor.stepOf" (include "ha-distributor.kvstoreOf" $config | fromYaml) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Fails unless step `.step` is in effect, or next to it. */}}
{{- define "ha-distributor.checkDistance" -}}
{{- $current := include "ha-distributor.currentStep" .root -}}
{{- if ne $current "" -}}
{{- $difference := sub .step (int $current) -}}
{{- if or (gt $difference 1) (lt $difference -1) -}}
{{- $next := ternary (add (int $current) 1) (sub (int $current) 1) (gt $difference 0) -}}
{{- fail (printf "%s %d, but step %s is in effect: take one step at a time, and wait until all distributors have taken it (docs/migrate-to-memberlist.md). Next: migration.step=%d" .what .step $current $next) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Fails if the step cannot be taken, or is not what the configuration then says. */}}
{{- define "ha-distributor.checkMigration" -}}
{{- $root := .root -}}
{{- $migration := $root.Values.migration -}}
{{- $kvstore := include "ha-distributor.kvstoreOf" .config | fromYaml -}}
{{- if kindIs "invalid" $migration.step -}}
{{- /* Without a migration, `kvstore` is as configured; one that has begun is not left in the middle. */ -}}
{{- if lookup "v1" "ConfigMap" $root.Release.Namespace (include "ha-distributor.stepName" $root) -}}
{{- $step := include "ha-distributor.stepOf" $kvstore | int -}}
{{- include "ha-distributor.checkDistance" (dict "root" $root "step" $step "what" "migration.step is not set, and kvstore is that of step") -}}
{{- end -}}
{{- else -}}
{{- $step := $migration.step | int -}}
{{- if not (has $migration.from (list "consul" "etcd")) -}}
{{- fail (printf "migration.from is %q: it must be consul or etcd" $migration.from) -}}
{{- end -}}
{{- include "ha-distributor.checkDistance" (dict "root" $root "step" $step "what" "migration.step is") -}}
{{- $wanted := (include "ha-distributor.migrationConfig" $root | fromYaml).distributor.ha_tracker.kvstore -}}
{{- if ne $kvstore.store $wanted.store -}}
{{- fail (printf "structuredConfig sets kvstore.store to %q, but migration.step %d needs %q: leave kvstore.store and kvstore.multi to migration.step" $kvstore.store $step $wanted.store) -}}
{{- end -}}
{{- range $key, $value := default dict $wanted.multi -}}
{{- if ne (toString $value) (toString (get $kvstore.multi $key)) -}}
{{- fail (printf "structuredConfig sets kvstore.multi.%s to %v, but migration.step %d needs %v: leave kvstore.store and kvstore.multi to migration.step" $key (get $kvstore.multi $key) $step $value) -}}
{{- end -}}
{{- end -}}
{{- if and (lt $step 5) (not (get $kvstore $migration.from)) -}}
{{- fail (printf "migration.step %d reads or writes %s, but there is no section for it: set migration.oldStore" $step $migration.from) -}}
{{- end -}}
{{- end -}}
{{- end -}}
