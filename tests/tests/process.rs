//! The process and its environment: signals, a log that is not read, descriptors, output.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::fs::OpenOptions;
use std::process::{Command, Stdio};

use common::tls::Authority;
use common::{assert_stored, ha_config, ha_series, per_sample_config, plain_series};
use e2e::attack::RawClient;
use e2e::{Distributor, LONG, Pipe, SHORT, Signal, Sink, Version, wait_for};
use serde_json::json;

/// Waits until the log contains this.
async fn logs(distributor: &Distributor, part: &str) {
    wait_for(&format!("{part:?} in the log"), SHORT, || async {
        let log = distributor.process.log();
        match log.contains(part) {
            true => Ok(()),
            false => Err(log),
        }
    })
    .await;
}

#[tokio::test]
async fn no_signal_ends_it_unprepared() {
    let sink = Sink::start().await;
    let mut distributor = Distributor::start("signals", &ha_config(&sink, &json!({}))).await;
    for (signal, line) in [
        (Signal::USR1, "signal=SIGUSR1"),
        (Signal::USR2, "signal=SIGUSR2"),
        (Signal::HUP, "the runtime configuration has not changed"),
    ] {
        distributor.process.signal(signal);
        logs(&distributor, line).await;
        assert_eq!(distributor.get("/ready").await.unwrap().status, 200);
    }
    distributor.process.signal(Signal::QUIT);
    assert_eq!(distributor.process.wait_exit(SHORT).await.code(), Some(0));
    logs(&distributor, "why=SIGQUIT").await;
    assert!(distributor.process.log().contains("msg=stopped"));
}

#[tokio::test]
async fn a_hang_up_reads_certificates_and_limits_again() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    let runtime = folder.path().join("runtime.yaml");
    let show = |authority: &Authority| {
        let identity = authority.sign("127.0.0.1");
        std::fs::copy(&identity.cert, &cert).unwrap();
        std::fs::copy(&identity.key, &key).unwrap();
    };
    show(&old);
    std::fs::write(&runtime, "overrides: {t: {ha_max_clusters: 7}}\n").unwrap();
    let config = json!({
        "server": {"http_tls_config": {"cert_file": cert, "key_file": key}},
        // Not by itself.
        "runtime_config": {"file": runtime, "period": "1h"},
    });
    let distributor = Distributor::launch("reload", &config.to_string());
    drop(e2e::http_client());
    let client = |authority: &Authority| {
        let root = reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap();
        let builder = reqwest::Client::builder().no_proxy();
        builder.tls_certs_only([root]).build().unwrap()
    };
    // A new client each time: connections of before keep their certificate.
    let limits = async |authority: &Authority| {
        let url = format!("https://{}/runtime_config", distributor.http_address());
        let answer = client(authority).get(url).send().await;
        let answer = answer.map_err(|error| format!("{error:?}"))?;
        answer.text().await.map_err(|error| error.to_string())
    };
    wait_for("TLS", LONG, || limits(&old)).await;
    show(&new);
    std::fs::write(&runtime, "overrides: {t: {ha_max_clusters: 8}}\n").unwrap();
    distributor.process.sighup();
    logs(&distributor, "files have changed and are in use").await;
    let text = limits(&new).await.unwrap();
    assert!(text.contains("ha_max_clusters: 8"), "{text}");
    limits(&old).await.unwrap_err();

    // What is of no use changes nothing.
    std::fs::write(&cert, "no certificate").unwrap();
    std::fs::write(&runtime, "overrides: {t: {ha_max_clusters: many}}\n").unwrap();
    distributor.process.sighup();
    logs(&distributor, "files have changed and cannot be used").await;
    logs(&distributor, "overrides.t.ha_max_clusters").await;
    let text = limits(&new).await.unwrap();
    assert!(text.contains("ha_max_clusters: 8"), "{text}");
}

#[tokio::test]
async fn a_second_signal_ends_the_wait() {
    let mut distributor = Distributor::start("twice", "").await;
    // A request that never becomes complete is waited for.
    let mut client = RawClient::connect(distributor.http_address())
        .await
        .unwrap();
    let framing = "Content-Length: 100\r\nExpect: 100-continue";
    client.push_head("t", framing).await.unwrap();
    assert_eq!(client.status(SHORT).await, Some(100));
    distributor.process.sigterm();
    logs(&distributor, "shutting down").await;
    assert_eq!(distributor.process.exit_status(), None);
    distributor.process.sigint();
    assert_eq!(distributor.process.wait_exit(SHORT).await.code(), Some(1));
    logs(&distributor, "exiting at once after a second signal").await;
}

#[tokio::test]
async fn a_signal_ends_the_start() {
    // It has no writer, so reading it blocks forever.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runtime.yaml");
    let _held = Pipe::make(&path);
    let yaml = json!({"runtime_config": {"file": path}}).to_string();
    let mut distributor = Distributor::launch_with("start", &yaml, &["-log.level=debug"], &[]);
    // Its signals are taken before it reads anything; until then it is not caught.
    wait_for("signals to be taken", SHORT, || async {
        let status = format!("/proc/{}/status", distributor.process.id());
        let status = std::fs::read_to_string(status).map_err(|e| e.to_string())?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.unwrap_or_default().trim(), 16).unwrap_or(0);
        // SIGUSR2 is the last of them.
        match caught & (1 << 11) {
            0 => Err(status),
            _ => Ok(()),
        }
    })
    .await;
    distributor.process.signal(Signal::HUP);
    distributor.process.sigterm();
    assert_eq!(distributor.process.wait_exit(SHORT).await.code(), Some(0));
    let log = distributor.process.log();
    assert!(!log.contains("msg=listening"), "{log}");
    assert!(log.contains("SIGTERM"), "{log}");
}

#[tokio::test]
async fn nobody_who_reads_the_log_stops_nothing() {
    let sink = Sink::start().await;
    let more = json!({"limits": {"ha_max_clusters": 0}});
    let mut distributor = Distributor::launch("no-log", &per_sample_config(&sink, &more));
    // The same process, with a pipe for its log that is full from the beginning.
    let mut pipe = Pipe::make(&distributor.process.folder().join("log.pipe"));
    let filled = pipe.fill();
    distributor.restart_in_shell("exec", "2>log.pipe").await;

    // Far more lines than can wait: one for each election.
    let name = "c".repeat(900);
    let (requests, each) = (20, 500);
    for request in 0..requests {
        let series: Vec<_> = (0..each)
            .map(|cluster| ha_series("m", &format!("{name}-{request}-{cluster}"), "r"))
            .collect();
        let answer = distributor.sender("t").send(Version::V1, &series).await;
        assert_stored(&answer, Version::V1);
    }
    assert_eq!(distributor.get("/ready").await.unwrap().status, 200);
    let dropped = "cortex_distributor_log_lines_dropped_total";
    let dropped_of = async |distributor: &Distributor| {
        let metrics = distributor.metrics().await.unwrap();
        metrics.sum(dropped, &[])
    };
    let count = dropped_of(&distributor).await;
    assert!(count > 0.0, "nothing was dropped");

    // It is read again: the waiting lines arrive, and the number of lost ones.
    let mut log = Vec::new();
    wait_for("the lines", LONG, || {
        log.extend_from_slice(&pipe.drain());
        let text = String::from_utf8_lossy(&log[filled.min(log.len())..]).into_owned();
        async move {
            let told = text
                .lines()
                .find(|line| line.contains("log lines were dropped"));
            match told {
                Some(told) if told.ends_with(&format!(" lines={count}")) => Ok(()),
                Some(told) => Err(format!("{count} dropped: {told}")),
                None => Err(format!("{} bytes", text.len())),
            }
        }
    })
    .await;
    assert_eq!(dropped_of(&distributor).await, count);

    // Full again, and told to stop.
    pipe.fill();
    distributor.process.sigterm();
    assert_eq!(distributor.process.wait_exit(SHORT).await.code(), Some(0));
}

#[tokio::test]
async fn connections_up_to_the_descriptors_leave_room_for_senders() {
    let sink = Sink::start().await;
    let mut distributor = Distributor::launch("few", &ha_config(&sink, &json!({})));
    // The soft limit is far lower than the hard one.
    let limits = "ulimit -Sn 40; ulimit -Hn 256; exec";
    distributor.restart_in_shell(limits, "").await;
    let metrics = distributor.metrics().await.unwrap();
    assert_eq!(metrics.sum("process_max_fds", &[]), 256.0);
    let limit = metrics.sum("cortex_tcp_connections_limit", &[("protocol", "http")]);
    assert_eq!(limit, 64.0);
    // All that it may have, and some more, of which some say the beginning of HTTP/2.
    let grpc: std::net::SocketAddr = distributor.grpc_address().parse().unwrap();
    let mut idle = Vec::new();
    for index in 0..400 {
        let address = if index % 4 == 3 {
            grpc
        } else {
            distributor.http_address()
        };
        if let Ok(mut client) = RawClient::connect(address).await {
            if index % 2 == 0 {
                let _ = client.send(b"PRI").await;
            }
            idle.push(client);
        }
    }
    for index in 0..3 {
        let series = [plain_series(&format!("m{index}"))];
        let answer = distributor.sender("t").send(Version::V1, &series).await;
        assert_stored(&answer, Version::V1);
        assert_eq!(distributor.get("/ready").await.unwrap().status, 200);
    }
    logs(
        &distributor,
        "the limit of connections is reached: an idle one was closed",
    )
    .await;
    let metrics = distributor.metrics().await.unwrap();
    let open = metrics.sum("cortex_tcp_connections", &[("protocol", "http")]);
    assert!(open <= limit, "{open}");
}

#[tokio::test]
async fn failing_to_accept_is_told_and_mended() {
    let sink = Sink::start().await;
    let more = json!({"server": {"http_listen_conn_limit": 1000}});
    let mut distributor = Distributor::launch("none-left", &ha_config(&sink, &more));
    distributor.restart_in_shell("ulimit -n 64; exec", "").await;
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(
            RawClient::connect(distributor.http_address())
                .await
                .unwrap(),
        );
    }
    logs(&distributor, "cannot accept connections").await;
    assert_eq!(distributor.get("/ready").await.unwrap().status, 200);
    let series = [plain_series("m")];
    let answer = distributor.sender("t").send(Version::V1, &series).await;
    assert_stored(&answer, Version::V1);
}

/// Runs the program to its end.
fn said(arguments: &[&str], out: Stdio) -> (Option<i32>, String) {
    let mut command = Command::new(Distributor::program());
    let output = command
        .args(arguments)
        .stdout(out)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn wrong_usage_is_one_status_and_names_what_there_is() {
    let (code, text) = said(&["dmeo"], Stdio::piped());
    assert_eq!(code, Some(64), "{text}");
    assert!(
        text.contains("did you mean demo?") && text.contains("migration"),
        "{text}"
    );
    for arguments in [
        &["serve"][..],
        &["docs", "all"],
        &["demo", "--fast"],
        &["migration"],
        &["migration", "status", "--step", "9"],
        &["-no-such-flag"],
    ] {
        let (code, text) = said(arguments, Stdio::piped());
        assert_eq!(code, Some(64), "{arguments:?}: {text}");
    }
}

#[test]
fn a_full_disk_is_told_and_no_panic() {
    for arguments in [
        &["-help"][..],
        &["-help-all"],
        &["-version"],
        &["-config.check"],
        &["-print.config"],
        &["-modules"],
        &["docs", "configuration"],
        &["demo", "--help"],
        &["migration", "--help"],
    ] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (code, text) = said(arguments, full.into());
        assert_eq!(code, Some(1), "{arguments:?}: {text}");
        assert!(text.contains("cannot write to standard output"), "{text}");
    }
}

#[test]
fn a_check_reads_what_the_start_reads() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let runtime = write("runtime.yaml", "overrides: {t: {ha_max_clusters: many}}\n");
    let garbage = write("garbage.pem", "no certificate");
    let config = json!({
        "server": {"http_tls_config": {"cert_file": garbage, "key_file": garbage}},
        "distributor": {"downstream": [{"url": "https://d/", "tls": {"ca_file": garbage}}]},
        "runtime_config": {"file": runtime},
    });
    let config = write("config.yaml", &config.to_string());
    let file = format!("-config.file={config}");
    let (code, text) = said(&[&file, "-config.check"], Stdio::piped());
    assert_eq!(code, Some(64), "{text}");
    for part in [
        "server.http_tls_config",
        "downstream",
        "overrides.t.ha_max_clusters",
    ] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    let downstream = "-distributor.downstream.url=http://d/push";
    let (code, text) = said(&["-config.check", downstream], Stdio::piped());
    assert_eq!(
        (code, text.as_str()),
        (Some(0), "the configuration is valid\n")
    );
}

/// Works, but hardly as meant: each is named, and the configuration is valid all the same.
#[test]
fn a_check_warns_of_what_is_hardly_meant() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let runtime = write("runtime.yaml", "overrides: {t: {of_a_newer_mimir: 1}}\n");
    let tracker = |kvstore: &str| {
        let text = format!(
            "auth_enabled: false\n\
             distributor: {{ha_tracker: {{enable_ha_tracker: true, kvstore: {kvstore}}}}}\n"
        );
        write("config.yaml", &text)
    };
    let check = |config: &str, more: &[&str]| {
        let file = format!("-config.file={config}");
        let runtime = format!("-runtime-config.file={runtime}");
        let flags = [&["-config.check", &file, &runtime], more].concat();
        said(&flags, Stdio::piped())
    };
    let (code, text) = check(&tracker("{consul: {host: 'consul:8500'}}"), &[]);
    assert_eq!(code, Some(0), "{text}");
    for warning in [
        "no downstream is configured",
        "kvstore.consul is set, but not used: kvstore.store is memberlist",
        "memberlist.join_members is empty",
        "its name in Cortex and Loki",
        "overrides.t.of_a_newer_mimir",
        "accept_ha_samples is true for no tenant",
    ] {
        assert!(text.contains(warning), "{warning} is missing in: {text}");
    }
    let etcd = tracker("{store: inmemory, etcd: {endpoints: ['etcd:2379']}}");
    let (code, text) = check(&etcd, &[]);
    assert_eq!(code, Some(0), "{text}");
    let unused = "kvstore.etcd is set, but not used: kvstore.store is inmemory";
    assert!(text.contains(unused), "{text}");
    assert!(!text.contains("join_members"), "{text}");
    let off = [
        "-distributor.ha-tracker.enable=false",
        "-distributor.ha-tracker.enable-for-all-users",
    ];
    let (code, text) = check(&etcd, &off);
    assert_eq!(code, Some(0), "{text}");
    let off = "accept_ha_samples is true (-distributor.ha-tracker.enable-for-all-users), but the HA \
               tracker is off";
    assert!(text.contains(off), "{text}");
    let (code, text) = check(&etcd, &["-config.strict"]);
    assert_eq!(code, Some(64), "{text}");
    assert!(
        text.contains("overrides.t.of_a_newer_mimir: unknown key"),
        "{text}"
    );
}

#[test]
fn the_configuration_and_the_modules_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    let yaml = "distributor: {downstream: [{url: 'http://d/push', bearer_token: hush}]}\n";
    std::fs::write(&config, yaml).unwrap();
    let file = format!("-config.file={}", config.display());
    let (code, text) = said(
        &["-print.config", &file, "-target=distributor"],
        Stdio::piped(),
    );
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("multitenancy_enabled: true\n"), "{text}");
    assert!(text.contains("target: distributor\n"), "{text}");
    assert!(
        text.contains("url: \"http://d/push\"\n") && !text.contains("hush"),
        "{text}"
    );
    // It loads again.
    std::fs::write(&config, text).unwrap();
    let (code, text) = said(&["-config.check", &file], Stdio::piped());
    assert_eq!(
        (code, text.as_str()),
        (Some(0), "the configuration is valid\n")
    );
    let (code, text) = said(
        &["-print.config", &file, "-target=ingester"],
        Stdio::piped(),
    );
    assert_eq!(code, Some(64), "{text}");
    assert!(text.contains("in which there is no distributor"), "{text}");
    let (code, text) = said(&["-modules"], Stdio::piped());
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("\ndistributor *\n") && text.contains("\nquerier\n"),
        "{text}"
    );
}
