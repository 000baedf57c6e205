//! Gossip between distributors.

use crate::observability::rules::{Alert, Fires, Group, Runbook, Severity};

pub(super) const GROUP: Group = Group {
    name: "gossip",
    title: "Gossip",
    alerts: &[
        Alert {
            name: "HaDistributorGossipMembersMissing",
            severity: Severity::Critical,
            hold: "5m",
            expr: r"
                min by (namespace, job) (memberlist_client_cluster_members_count{@})
                < on (namespace, job)
                count by (namespace, job) (memberlist_client_cluster_members_count{@})",
            summary: "A distributor of {{ $labels.job }} sees only {{ $value }} members of the gossip cluster",
            description: "More distributors run than one of them sees. A partition lets each side elect a replica, and both are stored.",
            runbook: Runbook {
                meaning: "At least one distributor sees fewer members than Prometheus scrapes: the network separates them, or their settings differ.",
                look: "`/memberlist` of each distributor; `memberlist_client_cluster_members_count` by `instance` says who sees how many, `memberlist_client_refused_packets_total` by `reason` whether packets are refused ([the reasons](memberlist.md#when-something-is-wrong)).",
                repair: "Open TCP and UDP on port 7946 between all distributors; give all of them the same `cluster_label` and `encryption_keys`; correct `join_members`. They join by themselves when they can.",
                false_alarms: "Two gossip clusters below one `job`: give them two jobs.",
            },
            fires: Fires {
                series: &[
                    (
                        r#"memberlist_client_cluster_members_count{@, instance="d0"}"#,
                        "2x30",
                    ),
                    (
                        r#"memberlist_client_cluster_members_count{@, instance="d1"}"#,
                        "2x30",
                    ),
                    (
                        r#"memberlist_client_cluster_members_count{@, instance="d2"}"#,
                        "1x30",
                    ),
                ],
                at: "10m",
                labels: "@",
            },
        },
        Alert {
            name: "HaDistributorGossipPacketsRefused",
            severity: Severity::Warning,
            hold: "10m",
            expr: "sum by (namespace, job, instance, reason) (rate(memberlist_client_refused_packets_total{@}[5m])) > 0",
            summary: "Distributor {{ $labels.instance }} refuses gossip packets: {{ $labels.reason }}",
            description: "{{ $labels.instance }} refuses packets because of {{ $labels.reason }}: another member has other settings, or a foreign host sends to the port.",
            runbook: Runbook {
                meaning: "Packets arrive that are not of this gossip cluster, or are damaged. Nothing of them is used.",
                look: "The log names the address, once every 10 s. [The reasons](memberlist.md#when-something-is-wrong) and what to do about each.",
                repair: "Give all members the same settings. Restrict the port to the members.",
                false_alarms: "`malformed` during an upgrade; `label`, `unencrypted` or `unknown_key` while a setting is rolled out.",
            },
            fires: Fires {
                series: &[(
                    r#"memberlist_client_refused_packets_total{@, instance="d0", reason="label"}"#,
                    "0+5x40",
                )],
                at: "20m",
                labels: r#"@, instance="d0", reason="label""#,
            },
        },
        Alert {
            name: "HaDistributorGossipUnhealthy",
            severity: Severity::Warning,
            hold: "5m",
            expr: "memberlist_client_cluster_node_health_score{@} > 2",
            summary: "The gossip of {{ $labels.instance }} is late",
            description: "The gossip task of {{ $labels.instance }} is {{ $value }} intervals late. Other members may consider it dead.",
            runbook: Runbook {
                meaning: "The process gets too little CPU, or was paused.",
                look: "CPU throttling of the container (`container_cpu_cfs_throttled_seconds_total`), steal time of the host, the log line `this process was stopped, or had no CPU`.",
                repair: "Raise the CPU request and remove the CPU limit, or add distributors.",
                false_alarms: "A host that was suspended.",
            },
            fires: Fires {
                series: &[(
                    r#"memberlist_client_cluster_node_health_score{@, instance="d0"}"#,
                    "8x30",
                )],
                at: "10m",
                labels: r#"@, instance="d0""#,
            },
        },
        Alert {
            name: "HaDistributorGossipSlow",
            severity: Severity::Warning,
            hold: "10m",
            expr: "histogram_quantile(0.99, sum by (namespace, job, instance, le) (rate(memberlist_client_propagation_delay_seconds_bucket{@}[5m]))) > 5",
            summary: "Elections reach {{ $labels.instance }} late",
            description: "1 % of the changes of elections need more than {{ $value | humanizeDuration }} to reach {{ $labels.instance }}.",
            runbook: Runbook {
                meaning: "Changes need seconds instead of milliseconds from the distributor that writes them. Meanwhile distributors can accept different replicas.",
                look: "Do clocks differ ([HaDistributorClockSkew](#hadistributorclockskew))? The delay is measured against the writer's clock. `memberlist_client_received_broadcasts_dropped_total`, packet loss between the hosts, blocked UDP.",
                repair: "Synchronize clocks; open UDP in both directions; see [HaDistributorGossipPacketsDropped](#hadistributorgossippacketsdropped).",
                false_alarms: "Clocks that differ by seconds. A member that was cut off for a while receives old changes when it is back.",
            },
            fires: Fires {
                series: &[
                    (
                        r#"memberlist_client_propagation_delay_seconds_bucket{@, instance="d0", le="5"}"#,
                        "0+50x40",
                    ),
                    (
                        r#"memberlist_client_propagation_delay_seconds_bucket{@, instance="d0", le="10"}"#,
                        "0+60x40",
                    ),
                    (
                        r#"memberlist_client_propagation_delay_seconds_bucket{@, instance="d0", le="+Inf"}"#,
                        "0+60x40",
                    ),
                ],
                at: "20m",
                labels: r#"@, instance="d0""#,
            },
        },
        Alert {
            name: "HaDistributorGossipPacketsDropped",
            severity: Severity::Warning,
            hold: "10m",
            expr: "rate(memberlist_client_received_broadcasts_dropped_total{@}[5m]) > 0",
            summary: "Distributor {{ $labels.instance }} drops gossip packets",
            description: "A queue of {{ $labels.instance }} is full. Gossip repeats what was dropped, so changes arrive later.",
            runbook: Runbook {
                meaning: "Packets arrive faster than they are processed, or a TCP connection to a member hangs.",
                look: "CPU of the process and its limits; `memberlist_client_messages_in_broadcast_queue`.",
                repair: "More CPU. Find a member whose connections hang on `/memberlist`.",
                false_alarms: "The start of a large fleet, for some seconds.",
            },
            fires: Fires {
                series: &[(
                    r#"memberlist_client_received_broadcasts_dropped_total{@, instance="d0"}"#,
                    "0+5x40",
                )],
                at: "20m",
                labels: r#"@, instance="d0""#,
            },
        },
        Alert {
            name: "HaDistributorGossipRestarted",
            severity: Severity::Warning,
            hold: "0s",
            expr: "increase(memberlist_client_gossip_restarts_total{@}[1h]) > 0",
            summary: "The gossip task of {{ $labels.instance }} has panicked",
            description: "The gossip task was started again and nothing is lost, but this is a bug.",
            runbook: Runbook {
                meaning: "A task of the gossip ended with a panic, and was restarted.",
                look: "The log has the panic with its place.",
                repair: "Report it, with the log. Nothing else is necessary.",
                false_alarms: "None known.",
            },
            fires: Fires {
                series: &[(
                    r#"memberlist_client_gossip_restarts_total{@, instance="d0"}"#,
                    "0x5 1x30",
                )],
                at: "10m",
                labels: r#"@, instance="d0""#,
            },
        },
    ],
};
