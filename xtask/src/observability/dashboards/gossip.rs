//! Gossip between distributors.

use super::{Dashboard, JOB, Kind, NAMESPACE, Panel, Query, Row, Unit};

pub(super) const DASHBOARD: Dashboard = Dashboard {
    file: "deploy/observability/dashboards/gossip.json",
    uid: "ha-distributor-gossip",
    title: "HA distributor / Gossip",
    description: "Whether the distributors see each other, and how fast elections reach them.",
    variables: &[NAMESPACE, JOB],
    rows: &[MEMBERS, TRAFFIC],
};

const MEMBERS: Row = Row {
    title: "Members and entries",
    panels: &[
        Panel {
            title: "Members",
            description: "Members that each distributor sees, itself included. All lines must be equal, and the number that of your distributors. A drop on several at once is a partition: each side can elect its own replica.",
            kind: Kind::Lines,
            unit: Unit::Count,
            width: 12,
            queries: &[
                Query {
                    expr: "memberlist_client_cluster_members_count{@}",
                    legend: "{{instance}}",
                },
                Query {
                    expr: "count(memberlist_client_cluster_members_count{@})",
                    legend: "scraped",
                },
            ],
        },
        Panel {
            title: "Entries",
            description: "Elections that each distributor knows. Lines that stay apart: packets do not arrive.",
            kind: Kind::Lines,
            unit: Unit::Count,
            width: 12,
            queries: &[Query {
                expr: "memberlist_client_kv_store_count{@}",
                legend: "{{instance}}",
            }],
        },
        Panel {
            title: "Time until an election arrives",
            description: "From the write of a value, by the writer's clock. Milliseconds are usual; seconds mean lost packets, a busy member, or clocks that differ.",
            kind: Kind::Lines,
            unit: Unit::Seconds,
            width: 12,
            queries: &[
                Query {
                    expr: "histogram_quantile(0.99, sum by (instance, le) (rate(memberlist_client_propagation_delay_seconds_bucket{@}[$__rate_interval])))",
                    legend: "{{instance}} 99 %",
                },
                Query {
                    expr: "histogram_quantile(0.5, sum by (instance, le) (rate(memberlist_client_propagation_delay_seconds_bucket{@}[$__rate_interval])))",
                    legend: "{{instance}} 50 %",
                },
            ],
        },
        Panel {
            title: "Health score",
            description: "How many gossip intervals late the gossip task is; 0 is healthy, 8 the worst. More CPU helps.",
            kind: Kind::Lines,
            unit: Unit::Count,
            width: 12,
            queries: &[Query {
                expr: "memberlist_client_cluster_node_health_score{@}",
                legend: "{{instance}}",
            }],
        },
        Panel {
            title: "Writes",
            description: "Compare-and-swaps by result.",
            kind: Kind::Lines,
            unit: Unit::PerSecond,
            width: 12,
            queries: &[
                Query {
                    expr: "sum(rate(memberlist_client_cas_success_total{@}[$__rate_interval]))",
                    legend: "successful",
                },
                Query {
                    expr: "sum(rate(memberlist_client_cas_failure_total{@}[$__rate_interval]))",
                    legend: "failed",
                },
            ],
        },
        Panel {
            title: "Deleted keys that are remembered",
            description: "Tombstones. They are forgotten after left_ingesters_timeout.",
            kind: Kind::Lines,
            unit: Unit::Count,
            width: 12,
            queries: &[Query {
                expr: "sum by (instance) (memberlist_client_kv_store_value_tombstones{@}) or 0 * sum by (instance) (memberlist_client_kv_store_count{@})",
                legend: "{{instance}}",
            }],
        },
        Panel {
            title: "Entries taken over",
            description: "A member that dies or leaves has its entries taken over by the others.",
            kind: Kind::Lines,
            unit: Unit::Count,
            width: 12,
            queries: &[
                Query {
                    expr: "sum by (instance) (increase(memberlist_client_adopted_entries_total{@}[$__rate_interval]))",
                    legend: "{{instance}} took over",
                },
                Query {
                    expr: "sum by (instance) (increase(memberlist_client_superseded_entries_dropped_total{@}[$__rate_interval]))",
                    legend: "{{instance}} dropped",
                },
            ],
        },
        Panel {
            title: "Restarts of the gossip task",
            description: "Anything but 0 is a bug: report it with the log. Gossip continues, and nothing is lost.",
            kind: Kind::Lines,
            unit: Unit::Count,
            width: 12,
            queries: &[Query {
                expr: "memberlist_client_gossip_restarts_total{@}",
                legend: "{{instance}}",
            }],
        },
    ],
};

const TRAFFIC: Row = Row {
    title: "Packets",
    panels: &[
        Panel {
            title: "Bytes sent and received",
            description: "UDP and TCP together. It grows with the number of elections, not with the number of samples.",
            kind: Kind::Lines,
            unit: Unit::BytesPerSecond,
            width: 12,
            queries: &[
                Query {
                    expr: "sum by (instance) (rate(memberlist_client_sent_broadcasts_bytes_total{@}[$__rate_interval]) + rate(memberlist_client_state_pushes_bytes_total{@}[$__rate_interval]))",
                    legend: "{{instance}} sent",
                },
                Query {
                    expr: "sum by (instance) (rate(memberlist_client_received_broadcasts_bytes_total{@}[$__rate_interval]) + rate(memberlist_client_state_pulls_bytes_total{@}[$__rate_interval]))",
                    legend: "{{instance}} received",
                },
            ],
        },
        Panel {
            title: "Packets",
            description: "UDP packets and packets over TCP.",
            kind: Kind::Lines,
            unit: Unit::PerSecond,
            width: 12,
            queries: &[
                Query {
                    expr: "sum by (instance) (rate(memberlist_client_received_broadcasts_total{@}[$__rate_interval]))",
                    legend: "{{instance}} UDP",
                },
                Query {
                    expr: "sum by (instance) (rate(memberlist_client_state_pulls_total{@}[$__rate_interval]))",
                    legend: "{{instance}} TCP",
                },
            ],
        },
        Panel {
            title: "Refused packets",
            description: "By reason: another member has other settings, or a foreign host sends to the port. The log names the address.",
            kind: Kind::Stacked,
            unit: Unit::PerSecond,
            width: 12,
            queries: &[Query {
                expr: "sum by (reason) (rate(memberlist_client_refused_packets_total{@}[$__rate_interval])) > 0 or sum(rate(memberlist_client_refused_packets_total{@}[$__rate_interval]))",
                legend: "{{reason}}",
            }],
        },
        Panel {
            title: "Dropped and unproven packets",
            description: "Dropped: a queue was full, and gossip repeats them; more CPU helps. Unproven all the time: a member does not receive UDP at its advertise_addr.",
            kind: Kind::Lines,
            unit: Unit::PerSecond,
            width: 12,
            queries: &[
                Query {
                    expr: "sum by (instance) (rate(memberlist_client_received_broadcasts_dropped_total{@}[$__rate_interval]))",
                    legend: "{{instance}} dropped",
                },
                Query {
                    expr: "sum by (instance) (rate(memberlist_client_unproven_packets_total{@}[$__rate_interval]))",
                    legend: "{{instance}} unproven",
                },
            ],
        },
        Panel {
            title: "Packets that wait for a connection",
            description: "They wait for a TCP connection to a member. What stays high: a member's connections hang.",
            kind: Kind::Lines,
            unit: Unit::Count,
            width: 12,
            queries: &[Query {
                expr: "memberlist_client_messages_in_broadcast_queue{@}",
                legend: "{{instance}}",
            }],
        },
        Panel {
            title: "Packets of Mimir's protocol",
            description: "With memberlist.protocol: memberlist, in Mimir's own ring.",
            kind: Kind::Lines,
            unit: Unit::PerSecond,
            width: 12,
            queries: &[
                Query {
                    expr: "sum by (instance) (rate(memberlist_tcp_transport_packets_received_total{@}[$__rate_interval]))",
                    legend: "{{instance}} received",
                },
                Query {
                    expr: "sum by (instance) (rate(memberlist_tcp_transport_packets_sent_errors_total{@}[$__rate_interval]))",
                    legend: "{{instance}} not sent",
                },
            ],
        },
    ],
};
