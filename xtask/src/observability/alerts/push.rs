//! Pushes: what senders and the downstream see.

use crate::observability::rules::{Alert, Fires, Group, Runbook, Severity};

pub(super) const GROUP: Group = Group {
    name: "push",
    title: "Pushes and downstreams",
    alerts: &[
        Alert {
            name: "HaDistributorPushErrors",
            severity: Severity::Critical,
            hold: "5m",
            expr: "job:ha_distributor_push_errors:ratio_rate5m > 0.05",
            summary: "{{ $value | humanizePercentage }} of the push requests to {{ $labels.job }} fail",
            description: "Senders get 5xx and retry. Their write-ahead logs cover about two hours; after that, samples are lost.",
            runbook: Runbook {
                meaning: "More than 5 % of the push requests are answered 5xx (gRPC: `UNAVAILABLE`, `INTERNAL`, `DEADLINE_EXCEEDED`): a downstream or the store fails, or a limit of the instance is reached.",
                look: "The log line `push requests fail` has the cause. The index page names the part that fails. Is [HaDistributorDownstreamFailing](#hadistributordownstreamfailing), [HaDistributorStoreFailing](#hadistributorstorefailing) or [HaDistributorRejectsRequests](#hadistributorrejectsrequests) firing, too?",
                repair: "Repair the part that fails. Nothing else is necessary: senders repeat what was not acknowledged.",
                false_alarms: "Few requests: with one request per minute, a single failure is above 5 % for 5 minutes.",
            },
            fires: Fires {
                series: &[
                    (
                        r#"cortex_request_duration_seconds_count{@, instance="d0", route="api_v1_push", status_code="200"}"#,
                        "0+90x30",
                    ),
                    (
                        r#"cortex_request_duration_seconds_count{@, instance="d0", route="api_v1_push", status_code="503"}"#,
                        "0+10x30",
                    ),
                ],
                at: "15m",
                labels: "@",
            },
        },
        Alert {
            name: "HaDistributorDownstreamFailing",
            severity: Severity::Critical,
            hold: "5m",
            expr: "job_name:ha_distributor_downstream_errors:ratio_rate5m > 0.05",
            summary: "Downstream {{ $labels.name }} fails {{ $value | humanizePercentage }} of the requests",
            description: "Requests to {{ $labels.name }} are answered 5xx, or not at all. Senders keep their samples and retry.",
            runbook: Runbook {
                meaning: "The backend is unavailable, overloaded or not reachable.",
                look: "`cortex_distributor_downstream_request_duration_seconds_count` by `status_code`: 0 means no answer (network, TLS, timeout), 5xx the backend's own error. The log line `push requests fail` has its text.",
                repair: "Repair the backend, or the network and certificates on the way to it. Status 401, 403 or 404 in the log: correct address and credentials in `distributor.downstream`.",
                false_alarms: "A restart of a backend that has a single instance.",
            },
            fires: Fires {
                series: &[
                    (
                        r#"cortex_distributor_downstream_request_duration_seconds_count{@, instance="d0", name="mimir", status_code="200"}"#,
                        "0+90x30",
                    ),
                    (
                        r#"cortex_distributor_downstream_request_duration_seconds_count{@, instance="d0", name="mimir", status_code="0"}"#,
                        "0+10x30",
                    ),
                ],
                at: "15m",
                labels: r#"@, name="mimir""#,
            },
        },
        Alert {
            name: "HaDistributorDownstreamRefuses",
            severity: Severity::Warning,
            hold: "5m",
            expr: r#"sum by (namespace, job, name, status_code) (rate(cortex_distributor_downstream_request_duration_seconds_count{@, status_code=~"4.."}[5m])) > 0"#,
            summary: "Downstream {{ $labels.name }} refuses requests with {{ $labels.status_code }}",
            description: "{{ $labels.name }} answers {{ $labels.status_code }}. After 400, 409, 413 and 422 senders drop these samples.",
            runbook: Runbook {
                meaning: "The backend refuses the data (400, 409, 413, 422: senders drop it), limits the rate (429: senders retry if `retry_on_http_429` is set), or the address or credentials are wrong (401, 403, 404: senders retry).",
                look: "The log line with cause `downstream_refused` has status and text. `duplicate sample` or `out of order` while one replica is elected: two senders use the same replica name. The same texts for some seconds after an election are the edge of the failover.",
                repair: "As the text says: correct limits in the backend, its out-of-order window, or the external labels of the senders.",
                false_alarms: "A few 400 right after an election.",
            },
            fires: Fires {
                series: &[(
                    r#"cortex_distributor_downstream_request_duration_seconds_count{@, instance="d0", name="mimir", status_code="400"}"#,
                    "0+5x30",
                )],
                at: "15m",
                labels: r#"@, name="mimir", status_code="400""#,
            },
        },
        Alert {
            name: "HaDistributorDownstreamSlow",
            severity: Severity::Warning,
            hold: "10m",
            expr: "job_name:ha_distributor_downstream_duration:p99_5m > 5",
            summary: "Downstream {{ $labels.name }} is slow",
            description: "1 % of the requests to {{ $labels.name }} take longer than {{ $value | humanizeDuration }}. Senders wait for them, and fall behind.",
            runbook: Runbook {
                meaning: "Senders are answered after the downstream has answered, so its time is theirs. Beyond `distributor.remote_timeout` (20 s) they get 503.",
                look: "The backend's own dashboards. `prometheus_remote_storage_samples_pending` of the senders says how far they are behind. `distributor.downstream.max_concurrency` (256) limits the requests in flight to one downstream.",
                repair: "Give the backend more resources. Smaller batches (`max_samples_per_send`) and more shards in the senders help against large requests.",
                false_alarms: "None known.",
            },
            fires: Fires {
                series: &[
                    (
                        r#"cortex_distributor_downstream_request_duration_seconds_bucket{@, instance="d0", name="mimir", status_code="200", le="5"}"#,
                        "0+50x40",
                    ),
                    (
                        r#"cortex_distributor_downstream_request_duration_seconds_bucket{@, instance="d0", name="mimir", status_code="200", le="10"}"#,
                        "0+60x40",
                    ),
                    (
                        r#"cortex_distributor_downstream_request_duration_seconds_bucket{@, instance="d0", name="mimir", status_code="200", le="+Inf"}"#,
                        "0+60x40",
                    ),
                ],
                at: "20m",
                labels: r#"@, name="mimir""#,
            },
        },
        Alert {
            name: "HaDistributorSamplesWithoutHaLabels",
            severity: Severity::Warning,
            hold: "15m",
            expr: r"
                sum by (namespace, job, user) (rate(cortex_distributor_non_ha_samples_received_total{@}[5m]))
                / (job_user:ha_distributor_samples_in:rate5m > 0)
                > 0.1",
            summary: "Tenant {{ $labels.user }} sends samples without HA labels",
            description: "{{ $value | humanizePercentage }} of the samples of tenant {{ $labels.user }} lack the cluster or the replica label, and are stored without deduplication.",
            runbook: Runbook {
                meaning: "HA tracking is on for the tenant, but these samples have not both labels. If they come from an HA pair, each is stored twice.",
                look: "The log line with cause `no_ha_labels` or `one_ha_label` says which label is missing, and from which client.",
                repair: "Give the senders both external labels. vmagent drops labels that begin with `__`: use another `ha_replica_label`. Or turn `accept_ha_samples` off for the tenant.",
                false_alarms: "A tenant that has senders without a partner on purpose: silence it by `user`, or give them a tenant of their own.",
            },
            fires: Fires {
                series: &[
                    (
                        r#"cortex_distributor_samples_in_total{@, instance="d0", user="t"}"#,
                        "0+100x60",
                    ),
                    (
                        r#"cortex_distributor_non_ha_samples_received_total{@, instance="d0", user="t"}"#,
                        "0+50x60",
                    ),
                ],
                at: "30m",
                labels: r#"@, user="t""#,
            },
        },
        Alert {
            name: "HaDistributorMixedRequests",
            severity: Severity::Warning,
            hold: "5m",
            expr: "sum by (namespace, job, user) (rate(cortex_distributor_mixed_requests_total{@}[5m])) > 0",
            summary: "Tenant {{ $labels.user }} sends requests that mix replicas or clusters",
            description: "The first series of each request decides for all of them: series of other replicas are stored twice or lost.",
            runbook: Runbook {
                meaning: "A gateway between the senders and the distributor merges requests of several replicas or clusters.",
                look: "The log line `decides for series with other HA labels` names the tenant and the labels.",
                repair: "Set `ha_tracker_per_sample_dedupe: true` for the tenant ([what a request is](mimir.md#what-a-request-is)), or let the senders write directly.",
                false_alarms: "None known.",
            },
            fires: Fires {
                series: &[(
                    r#"cortex_distributor_mixed_requests_total{@, instance="d0", user="t"}"#,
                    "0+5x30",
                )],
                at: "15m",
                labels: r#"@, user="t""#,
            },
        },
        Alert {
            name: "HaDistributorTooManyClusters",
            severity: Severity::Critical,
            hold: "5m",
            expr: r#"sum by (namespace, job, user) (rate(cortex_discarded_samples_total{@, reason="too_many_ha_clusters"}[5m])) > 0"#,
            summary: "Tenant {{ $labels.user }} has more HA clusters than allowed",
            description: "Samples of new HA clusters of tenant {{ $labels.user }} are refused with 400, and senders drop them.",
            runbook: Runbook {
                meaning: "The tenant has reached `ha_max_clusters` (100 by default). Known clusters continue.",
                look: "`/distributor/ha_tracker?tenant=…`: are the clusters real ones? `count by (user) (cortex_ha_tracker_elected_replica_timestamp_seconds)` counts them.",
                repair: "If they are real, raise `ha_max_clusters` for the tenant in the runtime configuration. If the cluster label varies (the name of a pod, a hash), correct `ha_cluster_label` or the external labels; old ones are deleted after about an hour.",
                false_alarms: "None known.",
            },
            fires: Fires {
                series: &[(
                    r#"cortex_discarded_samples_total{@, instance="d0", user="t", reason="too_many_ha_clusters"}"#,
                    "0+5x30",
                )],
                at: "15m",
                labels: r#"@, user="t""#,
            },
        },
        Alert {
            name: "HaDistributorSamplesDiscarded",
            severity: Severity::Warning,
            hold: "10m",
            expr: r#"sum by (namespace, job, user, reason) (rate(cortex_discarded_samples_total{@, reason!="too_many_ha_clusters"}[5m])) > 0"#,
            summary: "Samples of tenant {{ $labels.user }} are discarded: {{ $labels.reason }}",
            description: "{{ $value | humanize }} samples per second of tenant {{ $labels.user }} are discarded because of {{ $labels.reason }}.",
            runbook: Runbook {
                meaning: "Samples are refused because of their tenant or sender. `rate_limited` is answered 429, which senders repeat if `retry_on_http_429` is set; the other reasons are answered 4xx, and senders drop the samples.",
                look: "The log has a line per tenant and cause, with the answer and the client's address: [the table](operate.md#refused-requests-in-the-log).",
                repair: "As the table says, by cause.",
                false_alarms: "A tenant whose senders exceed their limit on purpose.",
            },
            fires: Fires {
                series: &[(
                    r#"cortex_discarded_samples_total{@, instance="d0", user="t", reason="rate_limited"}"#,
                    "0+5x40",
                )],
                at: "20m",
                labels: r#"@, user="t", reason="rate_limited""#,
            },
        },
    ],
};
