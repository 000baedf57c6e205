//! Processes: whether they are there, and set up alike.

use crate::observability::rules::{Alert, Fires, Group, Runbook, Severity};

pub(super) const GROUP: Group = Group {
    name: "fleet",
    title: "The fleet",
    alerts: &[
        Alert {
            name: "HaDistributorAbsent",
            severity: Severity::Critical,
            hold: "5m",
            expr: "absent(up{@} == 1)",
            summary: "No distributor is running",
            description: "Prometheus scrapes no distributor that answers. Senders get no answer and keep their samples for about two hours.",
            runbook: Runbook {
                meaning: "No target that the rules select is up. Either all distributors are down, or Prometheus does not scrape them.",
                look: "`kubectl get pods`, or `systemctl status` on the hosts; the log of a process that ends says why (exit status 64: a mistake in the configuration). The page of targets in Prometheus (`/targets`) shows whether they are scraped, and with which `job`.",
                repair: "Start the distributors. Senders retry, and their write-ahead logs cover about two hours.",
                false_alarms: "The rules select a `job` that your scrape configuration does not use: replace the selector in `rules.yaml` ([how](observability.md#rules)).",
            },
            fires: Fires {
                series: &[(r#"up{@, instance="d0"}"#, "0x30")],
                at: "10m",
                labels: "",
            },
        },
        Alert {
            name: "HaDistributorDown",
            severity: Severity::Warning,
            hold: "5m",
            expr: "up{@} == 0",
            summary: "Distributor {{ $labels.instance }} is down",
            description: "{{ $labels.instance }} has not answered scrapes for 5 minutes. The others take over its senders.",
            runbook: Runbook {
                meaning: "Prometheus cannot scrape this distributor. Its senders are served by the others if a load balancer is in front of them.",
                look: "The state of the process, its log and its exit status ([list](operate.md#the-process)). `/ready` says what a process that is starting waits for.",
                repair: "Correct what the log names, and start it. If it is starting for long, it waits for the store, or for the other members of the gossip cluster.",
                false_alarms: "A network policy that keeps Prometheus out; a target that was removed on purpose and is still in a static configuration.",
            },
            fires: Fires {
                series: &[
                    (r#"up{@, instance="d0"}"#, "1x30"),
                    (r#"up{@, instance="d1"}"#, "1x5 0x30"),
                ],
                at: "15m",
                labels: r#"@, instance="d1""#,
            },
        },
        Alert {
            name: "HaDistributorRestarting",
            severity: Severity::Warning,
            hold: "0s",
            expr: "changes(process_start_time_seconds{@}[30m]) > 2",
            summary: "Distributor {{ $labels.instance }} restarts again and again",
            description: "{{ $labels.instance }} has restarted {{ $value }} times in 30 minutes.",
            runbook: Runbook {
                meaning: "The process ends and is started again: it runs out of memory, its liveness probe fails, or it exits with an error.",
                look: "The reason of the last end (`kubectl describe pod`: `OOMKilled`, exit status), and the last lines of the previous log (`kubectl logs --previous`). Status 1 after `giving up` means that a task of the tracker died: report this, with the log.",
                repair: "`OOMKilled`: raise the memory limit, or lower `distributor.instance_limits.max_inflight_push_requests_bytes` ([memory](operate.md#memory)). The liveness probe must ask for `/healthz`, which answers while the process runs, and never for `/ready`, which also waits for the store and, with gossip, for other members.",
                false_alarms: "Several rollouts within half an hour.",
            },
            fires: Fires {
                series: &[(
                    r#"process_start_time_seconds{@, instance="d0"}"#,
                    "0x5 300x5 600x5 900x20",
                )],
                at: "20m",
                labels: r#"@, instance="d0""#,
            },
        },
        Alert {
            name: "HaDistributorRuntimeConfigRefused",
            severity: Severity::Warning,
            hold: "5m",
            expr: "cortex_runtime_config_last_reload_successful{@} == 0",
            summary: "Distributor {{ $labels.instance }} refuses its runtime configuration",
            description: "The last good runtime configuration stays in effect on {{ $labels.instance }}, but after a restart it would not start.",
            runbook: Runbook {
                meaning: "The runtime configuration has a mistake, or cannot be read. Nothing has changed for senders. A process that restarts now does not start.",
                look: "The log line says file, line and mistake; the index page repeats it. `/runtime_config` shows what is in effect.",
                repair: "Correct the file. Check the next one before it is deployed: `distributor -config.check -config.strict`.",
                false_alarms: "A file that is written in place and becomes shorter is loaded after three periods; until then the value is 0.",
            },
            fires: Fires {
                series: &[(
                    r#"cortex_runtime_config_last_reload_successful{@, instance="d0"}"#,
                    "0x30",
                )],
                at: "10m",
                labels: r#"@, instance="d0""#,
            },
        },
        Alert {
            name: "HaDistributorFilesRefused",
            severity: Severity::Warning,
            hold: "5m",
            expr: "cortex_distributor_file_reload_successful{@} == 0",
            summary: "Distributor {{ $labels.instance }} cannot use the files of {{ $labels.files }}",
            description: "Changed files of {{ $labels.files }} (certificates, keys, credentials) cannot be used on {{ $labels.instance }}. The previous content stays in use until it expires; after a restart the process would not start.",
            runbook: Runbook {
                meaning: "Files that a setting names have changed, and cannot be used: a key that does not match its certificate, credentials with a mistake, a file that is gone or cannot be read. The label `files` is the setting. What was read before stays in use, so senders notice nothing, until a certificate expires.",
                look: "The log line names the file and the mistake; the index page repeats it. `cortex_distributor_file_reload_failures_total` says how often it was tried. `ls -l` of the file as the process sees it (in Kubernetes: in the pod).",
                repair: "Correct the file, or mount it again. It is read every five seconds until it can be used, and at once on SIGHUP. Check what is deployed next with `distributor -config.check`.",
                false_alarms: "Certificate and key that are replaced one after the other, within minutes.",
            },
            fires: Fires {
                series: &[(
                    r#"cortex_distributor_file_reload_successful{@, instance="d0", files="server.http_tls_config"}"#,
                    "1x5 0x30",
                )],
                at: "15m",
                labels: r#"@, instance="d0", files="server.http_tls_config""#,
            },
        },
        Alert {
            name: "HaDistributorRuntimeConfigDiffers",
            severity: Severity::Warning,
            hold: "15m",
            expr: "count by (namespace, job) (count by (namespace, job, sha256) (cortex_runtime_config_hash{@})) > 1",
            summary: "Distributors run with different runtime configurations",
            description: "{{ $value }} different runtime configurations are in effect in {{ $labels.job }}: limits of tenants depend on which distributor a request reaches.",
            runbook: Runbook {
                meaning: "Distributors of one job have loaded different runtime configurations for more than 15 minutes.",
                look: "`count by (sha256, instance) (cortex_runtime_config_hash)` shows which; compare their `/runtime_config`.",
                repair: "Deploy the same files to all. A distributor that refuses its file keeps the old one: see [HaDistributorRuntimeConfigRefused](#hadistributorruntimeconfigrefused).",
                false_alarms: "Two deployments with files of their own below one `job`: give them two.",
            },
            fires: Fires {
                series: &[
                    (
                        r#"cortex_runtime_config_hash{@, instance="d0", sha256="aa"}"#,
                        "1x60",
                    ),
                    (
                        r#"cortex_runtime_config_hash{@, instance="d1", sha256="bb"}"#,
                        "1x60",
                    ),
                ],
                at: "20m",
                labels: "@",
            },
        },
        Alert {
            name: "HaDistributorLogLinesDropped",
            severity: Severity::Info,
            hold: "0s",
            expr: "increase(cortex_distributor_log_lines_dropped_total{@}[15m]) > 0",
            summary: "Distributor {{ $labels.instance }} drops log lines",
            description: "Standard error of {{ $labels.instance }} is not read fast enough, so lines are missing from its log.",
            runbook: Runbook {
                meaning: "What reads the process's standard error is too slow, or has stopped. 4 MiB are buffered; further lines are dropped. Requests never wait for the log.",
                look: "The log collector of the host, and its disk.",
                repair: "Repair the collector. Lower `log_level` if it is `debug`.",
                false_alarms: "None known.",
            },
            fires: Fires {
                series: &[(
                    r#"cortex_distributor_log_lines_dropped_total{@, instance="d0"}"#,
                    "0x5 7x30",
                )],
                at: "10m",
                labels: r#"@, instance="d0""#,
            },
        },
    ],
};
