//! Limits of a process.

use crate::observability::rules::{Alert, Fires, Group, Runbook, Severity};

pub(super) const GROUP: Group = Group {
    name: "limits",
    title: "Limits of a process",
    alerts: &[
        Alert {
            name: "HaDistributorRejectsRequests",
            severity: Severity::Critical,
            hold: "5m",
            expr: "sum by (namespace, job, instance, reason) (rate(cortex_distributor_instance_rejected_requests_total{@}[5m])) > 0",
            summary: "Distributor {{ $labels.instance }} rejects requests: {{ $labels.reason }}",
            description: "{{ $labels.instance }} has reached a limit of the instance ({{ $labels.reason }}) and answers 503. Senders retry and fall behind.",
            runbook: Runbook {
                meaning: "More requests, bytes or samples arrive than `distributor.instance_limits` allow.",
                look: "`reason` names the limit. Is the downstream slow ([HaDistributorDownstreamSlow](#hadistributordownstreamslow))? Then requests pile up because they wait for it.",
                repair: "Repair a slow downstream first. Else add distributors, or raise the limit that `reason` names; for bytes, the memory limit of the process as well ([memory](operate.md#memory)).",
                false_alarms: "A burst after an outage, when all senders catch up: it ends by itself.",
            },
            fires: Fires {
                series: &[(
                    r#"cortex_distributor_instance_rejected_requests_total{@, instance="d0", reason="distributor_max_inflight_push_requests"}"#,
                    "0+5x30",
                )],
                at: "15m",
                labels: r#"@, instance="d0", reason="distributor_max_inflight_push_requests""#,
            },
        },
        Alert {
            name: "HaDistributorInflightRequestsHigh",
            severity: Severity::Warning,
            hold: "5m",
            expr: r#"
                cortex_distributor_inflight_push_requests{@}
                / on (namespace, job, instance)
                (cortex_distributor_instance_limits{@, limit="max_inflight_push_requests"} > 0)
                > 0.8"#,
            summary: "Distributor {{ $labels.instance }} has nearly as many requests in flight as allowed",
            description: "{{ $value | humanizePercentage }} of max_inflight_push_requests are in use on {{ $labels.instance }}. At 100 % it answers 503.",
            runbook: Runbook {
                meaning: "Requests wait, mostly for the downstream.",
                look: "`cortex_distributor_downstream_request_duration_seconds`, and the rate of requests by instance: does the load balancer spread senders evenly?",
                repair: "As [HaDistributorRejectsRequests](#hadistributorrejectsrequests).",
                false_alarms: "A burst after an outage.",
            },
            fires: Fires {
                series: &[
                    (
                        r#"cortex_distributor_inflight_push_requests{@, instance="d0"}"#,
                        "1900x30",
                    ),
                    (
                        r#"cortex_distributor_instance_limits{@, instance="d0", limit="max_inflight_push_requests"}"#,
                        "2000x30",
                    ),
                ],
                at: "10m",
                labels: r#"@, instance="d0""#,
            },
        },
        Alert {
            name: "HaDistributorInflightBytesHigh",
            severity: Severity::Warning,
            hold: "5m",
            expr: r#"
                cortex_distributor_inflight_push_requests_bytes{@}
                / on (namespace, job, instance)
                (cortex_distributor_instance_limits{@, limit="max_inflight_push_requests_bytes"} > 0)
                > 0.7"#,
            summary: "Distributor {{ $labels.instance }} uses nearly all memory for requests in flight",
            description: "{{ $value | humanizePercentage }} of max_inflight_push_requests_bytes are in use on {{ $labels.instance }}. Large requests are refused from 75 % on.",
            runbook: Runbook {
                meaning: "The requests in flight use nearly all memory that they may use. A quarter of it is reserved for requests of at most 2 MiB; larger ones get 503 beyond three quarters.",
                look: "Are batches large (`max_samples_per_send` of the senders)? Is the downstream slow?",
                repair: "Smaller batches; a faster downstream; more memory, and with it `max_inflight_push_requests_bytes` ([memory](operate.md#memory)).",
                false_alarms: "A burst after an outage.",
            },
            fires: Fires {
                series: &[
                    (
                        r#"cortex_distributor_inflight_push_requests_bytes{@, instance="d0"}"#,
                        "900x30",
                    ),
                    (
                        r#"cortex_distributor_instance_limits{@, instance="d0", limit="max_inflight_push_requests_bytes"}"#,
                        "1000x30",
                    ),
                ],
                at: "10m",
                labels: r#"@, instance="d0""#,
            },
        },
        Alert {
            name: "HaDistributorConnectionsHigh",
            severity: Severity::Warning,
            hold: "10m",
            expr: "cortex_tcp_connections{@} / (cortex_tcp_connections_limit{@} > 0) > 0.9",
            summary: "Distributor {{ $labels.instance }} has nearly as many {{ $labels.protocol }} connections as allowed",
            description: "{{ $value | humanizePercentage }} of the {{ $labels.protocol }} connections are in use. At the limit, each new connection closes an idle one.",
            runbook: Runbook {
                meaning: "Many clients, or clients that open connections and do not close them.",
                look: "`ss -tn state established '( sport = :8080 )'` on the host counts connections by address.",
                repair: "Find the client that opens them. Raise `server.http_listen_conn_limit` or `server.grpc_listen_conn_limit`, and the limit of open files.",
                false_alarms: "None known.",
            },
            fires: Fires {
                series: &[
                    (
                        r#"cortex_tcp_connections{@, instance="d0", protocol="http"}"#,
                        "95x30",
                    ),
                    (
                        r#"cortex_tcp_connections_limit{@, instance="d0", protocol="http"}"#,
                        "100x30",
                    ),
                ],
                at: "15m",
                labels: r#"@, instance="d0", protocol="http""#,
            },
        },
        Alert {
            name: "HaDistributorOpenFilesHigh",
            severity: Severity::Warning,
            hold: "10m",
            expr: "process_open_fds{@} / process_max_fds{@} > 0.8",
            summary: "Distributor {{ $labels.instance }} has nearly as many open files as allowed",
            description: "{{ $value | humanizePercentage }} of the file descriptors of {{ $labels.instance }} are in use. Without free ones, it accepts no connections.",
            runbook: Runbook {
                meaning: "Connections use most of the file descriptors that the process may have.",
                look: "`cortex_tcp_connections`; `ls /proc/<pid>/fd | wc -l`; the log line `cannot accept connections`.",
                repair: "Raise the hard limit (`LimitNOFILE=` in systemd; the container runtime's default): the soft limit is raised to it at the start.",
                false_alarms: "None known.",
            },
            fires: Fires {
                series: &[
                    (r#"process_open_fds{@, instance="d0"}"#, "900x30"),
                    (r#"process_max_fds{@, instance="d0"}"#, "1000x30"),
                ],
                at: "15m",
                labels: r#"@, instance="d0""#,
            },
        },
    ],
};
