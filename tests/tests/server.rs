//! The process and its server: TLS in both directions, pages, configuration mistakes, signals.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::path::Path;

use common::tls::{Authority, Identity, TlsFront};
use common::{
    BOTH, assert_retry, assert_stored, assert_text, config, elected, ha_config, ha_series,
    plain_series,
};
use e2e::{Distributor, LONG, SHORT, Sink, Version, http_client, wait_for};
use serde_json::{Value, json};

/// A client that trusts this authority alone, with a certificate of its own if given.
fn tls_client(authority: &Authority, identity: Option<&Identity>) -> reqwest::Client {
    // Also installs what TLS needs.
    drop(http_client());
    let root = reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    let mut builder = reqwest::Client::builder().no_proxy().tls_certs_only([root]);
    if let Some(identity) = identity {
        let pem = identity.pem();
        builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
    }
    builder.build().unwrap()
}

fn https(distributor: &Distributor, path: &str) -> String {
    format!("https://{}{path}", distributor.http_address())
}

/// `/ready` over TLS.
async fn wait_ready(distributor: &Distributor, client: &reqwest::Client) {
    wait_for("readiness over TLS", LONG, || async {
        let response = client.get(https(distributor, "/ready")).send().await;
        match response {
            Ok(response) if response.status() == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// Pushes nothing.
async fn push(distributor: &Distributor, client: &reqwest::Client) -> Result<u16, String> {
    let request = client.post(https(distributor, "/api/v1/push"));
    let request = request.header("X-Scope-OrgID", "t").body(vec![0]);
    let response = request.send().await.map_err(|e| format!("{e:?}"))?;
    Ok(response.status().as_u16())
}

#[tokio::test]
async fn the_server_speaks_tls() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let server = ours.sign("127.0.0.1");
    let tls = json!({"server": {"http_tls_config": {
        "cert_file": server.cert, "key_file": server.key,
    }}});
    let distributor = Distributor::launch("tls", &tls.to_string());
    let client = tls_client(&ours, None);
    wait_ready(&distributor, &client).await;
    assert_eq!(push(&distributor, &client).await, Ok(200));
    let error = push(&distributor, &tls_client(&theirs, None)).await;
    assert!(
        error.clone().unwrap_err().contains("UnknownIssuer"),
        "{error:?}"
    );
    // And nothing else.
    distributor.get("/ready").await.unwrap_err();
    assert_eq!(push(&distributor, &client).await, Ok(200));
}

#[tokio::test]
async fn clients_without_a_certificate_are_refused_if_one_is_required() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let server = ours.sign("127.0.0.1");
    for (auth, without) in [
        ("RequireAndVerifyClientCert", false),
        ("VerifyClientCertIfGiven", true),
    ] {
        let tls = json!({"server": {"http_tls_config": {
            "cert_file": server.cert,
            "key_file": server.key,
            "client_ca_file": ours.path(),
            "client_auth_type": auth,
        }}});
        let distributor = Distributor::launch("mutual", &tls.to_string());
        let known = tls_client(&ours, Some(&ours.sign("sender")));
        wait_ready(&distributor, &known).await;
        assert_eq!(push(&distributor, &known).await, Ok(200), "{auth}");
        let nameless = push(&distributor, &tls_client(&ours, None)).await;
        assert_eq!(nameless.is_ok(), without, "{auth}: {nameless:?}");
        let stranger = tls_client(&ours, Some(&theirs.sign("stranger")));
        push(&distributor, &stranger).await.unwrap_err();
        assert_eq!(push(&distributor, &known).await, Ok(200), "{auth}");
    }
}

/// PEM in the YAML instead of files, and the kinds of client authentication that verify nothing.
#[tokio::test]
async fn certificates_in_the_yaml_and_clients_with_any_certificate() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let server = ours.sign("127.0.0.1");
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    // Whether clients get in: one of ours, one without a certificate, one of another authority.
    for (auth, known, nameless, stranger) in [
        ("", true, true, true),
        ("RequestClientCert", true, true, true),
        ("RequireAnyClientCert", true, false, true),
        ("RequireAndVerifyClientCert", true, false, false),
    ] {
        let verifies = auth == "RequireAndVerifyClientCert";
        let authorities = if verifies { ours.pem() } else { "" };
        let tls = json!({"server": {"http_tls_config": {
            "cert": read(&server.cert),
            "key": read(&server.key),
            "client_ca": authorities,
            "client_auth_type": auth,
        }}});
        let distributor = Distributor::launch("inline", &tls.to_string());
        let client = tls_client(&ours, Some(&ours.sign("sender")));
        wait_ready(&distributor, &client).await;
        for (client, gets_in) in [
            (client, known),
            (tls_client(&ours, None), nameless),
            (tls_client(&ours, Some(&theirs.sign("stranger"))), stranger),
        ] {
            let answer = push(&distributor, &client).await;
            assert_eq!(answer.is_ok(), gets_in, "{auth:?}: {answer:?}");
        }
        let page = client_page(&distributor, &tls_client(&ours, Some(&ours.sign("sender")))).await;
        assert!(page.contains("BEGIN CERTIFICATE") && !page.contains("PRIVATE KEY"));
    }
    let broken = json!({"server": {"http_tls_config": {
        "cert": read(&server.cert), "key": "-----BEGIN hush-----",
    }}});
    let (code, log) = fails("inline", &broken.to_string(), &[]).await;
    assert_ne!(code, Some(0), "{log}");
    assert!(
        log.contains("server.http_tls_config: key:") && !log.contains("hush"),
        "{log}"
    );
}

/// `/config`.
async fn client_page(distributor: &Distributor, client: &reqwest::Client) -> String {
    let response = client.get(https(distributor, "/config")).send().await;
    response.unwrap().text().await.unwrap()
}

/// Starts one that is not to live; returns its exit status and all that it said.
async fn fails(name: &str, yaml: &str, flags: &[&str]) -> (Option<i32>, String) {
    let mut distributor = Distributor::launch_with(name, yaml, flags, &[]);
    let status = distributor.process.wait_exit(SHORT).await;
    (status.code(), distributor.process.log())
}

#[tokio::test]
async fn certificates_of_no_use_end_it_with_a_reason() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (server, other) = (ours.sign("127.0.0.1"), theirs.sign("other"));
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage.pem");
    std::fs::write(&garbage, "no certificate").unwrap();
    let of_server = |cert: &Path, key: &Path| json!({"server": {"http_tls_config": {"cert_file": cert, "key_file": key}}});
    let of_downstream = |ca: &Path| {
        json!({"distributor": {"downstream": [
            {"url": "https://127.0.0.1:1/", "name": "far", "tls": {"ca_file": ca}},
        ]}})
    };
    for (yaml, parts) in [
        (
            of_server(&garbage, &server.key),
            ["server.http_tls_config", "garbage.pem"],
        ),
        (
            of_server(&server.cert, &garbage),
            ["server.http_tls_config", "garbage.pem"],
        ),
        (
            of_server(&server.cert, &other.key),
            ["server.http_tls_config", "Mismatch"],
        ),
        (of_downstream(&garbage), ["far", "garbage.pem"]),
    ] {
        let (code, log) = fails("bad-tls", &yaml.to_string(), &[]).await;
        assert_eq!(code, Some(1), "{log}");
        let line = log.lines().find(|line| line.contains("level=error"));
        let line = line.unwrap_or_else(|| panic!("{log}"));
        for part in parts {
            assert!(line.contains(part), "{part:?} is missing in: {line}");
        }
        assert!(
            !log.contains("PRIVATE KEY") && !log.contains("panicked"),
            "{log}"
        );
    }
}

#[tokio::test]
async fn all_mistakes_are_told_at_once() {
    let yaml = "distributor:\n  max_recv_msg_size: lots\n  ha_tracker: {enable_ha_tracker: maybe}\n\
                limits:\n  ha_tracker_failover_timeout: 3s\n  ha_max_clustrs: 7\n\
                server: {http_tls_config: {cert_file: /nowhere.pem}}\n";
    for flags in [&[][..], &["-config.check"]] {
        let (code, output) = fails("mistakes", yaml, flags).await;
        assert_eq!(code, Some(64), "{output}");
        for part in [
            "config.yaml:2: distributor.max_recv_msg_size: got \"lots\"",
            "config.yaml:3: distributor.ha_tracker.enable_ha_tracker: got \"maybe\"",
            "config.yaml:5: limits.ha_tracker_failover_timeout: got 3s; must be at least 21s",
            "config.yaml:6: limits.ha_max_clustrs: unknown key; did you mean ha_max_clusters?",
            "server.http_tls_config.key_file",
            "/nowhere.pem",
        ] {
            assert!(output.contains(part), "{part:?} is missing in: {output}");
        }
    }
    for (yaml, part) in [
        ("a: [b\n  c: d\n", "not YAML"),
        ("limits: 5\n", "limits"),
        ("- a\n- b\n", "config.yaml"),
        (
            "limits: {ha_max_clusters: 1}\nlimits: {ha_max_clusters: 2}\n",
            "config.yaml:2",
        ),
    ] {
        let (code, output) = fails("not-yaml", yaml, &[]).await;
        assert_eq!(code, Some(64), "{yaml}: {output}");
        assert!(output.contains(part), "{yaml}: {output}");
    }
    let (code, output) = fails("flag", "", &["-no-such-flag=1"]).await;
    assert_eq!(code, Some(64), "{output}");
    assert!(output.contains("no-such-flag"), "{output}");
    let (code, output) = fails(
        "check",
        "limits: {accept_ha_samples: true}\n",
        &["-config.check"],
    )
    .await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("the configuration is valid"), "{output}");
}

#[tokio::test]
async fn a_broken_runtime_configuration_prevents_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("overrides.yaml");
    std::fs::write(&path, "overrides: {t: {ha_max_clusters: many}}\n").unwrap();
    let yaml = json!({"runtime_config": {"file": path}}).to_string();
    let (code, output) = fails("overrides", &yaml, &[]).await;
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("overrides.t.ha_max_clusters"), "{output}");
}

#[tokio::test]
async fn a_port_in_use_ends_it_with_a_reason() {
    let first = Distributor::start("first", "").await;
    let http = first.http_address().port().to_string();
    let grpc = first.grpc_address().rsplit_once(':').unwrap().1.to_owned();
    for (protocol, port) in [("http", http), ("grpc", grpc)] {
        // The last of two flags wins.
        let flag = format!("-server.{protocol}-listen-port={port}");
        let (code, output) = fails("second", "", &[&flag]).await;
        assert_eq!(code, Some(1), "{output}");
        let setting = format!("server.{protocol}_listen_port");
        for part in ["cannot listen on", &port, &setting, "in use"] {
            assert!(output.contains(part), "{part:?} is missing in: {output}");
        }
        assert!(!output.contains("msg=listening"), "{output}");
    }
    assert_eq!(first.get("/ready").await.unwrap().status, 200);
}

#[tokio::test]
async fn every_page_is_for_people_and_for_programs() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("pages", &ha_config(&sink, &json!({}))).await;
    let sender = distributor.sender("team-1");
    let answer = sender
        .send(Version::V1, &[ha_series("m", "cluster-1", "replica-1")])
        .await;
    assert_stored(&answer, Version::V1);

    let index = distributor.get_json("/").await.unwrap();
    let paths: Vec<&str> = index["pages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|page| page["path"].as_str().unwrap())
        .collect();
    let html = distributor.get("/").await.unwrap();
    for path in &paths {
        assert!(html.body.contains(path), "{path} is not on the index page");
        let status = distributor.get(path).await.unwrap().status;
        assert_eq!(
            status,
            if path.ends_with("push") { 405 } else { 200 },
            "{path}"
        );
    }
    for (path, person, program) in [
        ("/", "text/html", true),
        ("/distributor/ha_tracker", "text/html", true),
        ("/services", "text/html", true),
        ("/config", "text/plain", true),
        ("/runtime_config", "text/plain", true),
        ("/api/v1/status/buildinfo", "application/json", true),
        ("/ready", "text/plain", false),
        ("/metrics", "text/plain; version=0.0.4", false),
    ] {
        let answer = distributor.get(path).await.unwrap();
        let content_type = answer.header("content-type").unwrap();
        assert!(content_type.starts_with(person), "{path}: {content_type}");
        if person == "text/html" {
            assert!(answer.body.starts_with("<!DOCTYPE html>"), "{path}");
            assert!(answer.body.ends_with("</html>"), "{path}");
        }
        if program {
            distributor.get_json(path).await.unwrap();
        }
        if path != "/api/v1/status/buildinfo" {
            assert!(path == "/" || paths.contains(&path), "{path} is not listed");
        }
    }

    let page = distributor
        .get("/distributor/ha_tracker")
        .await
        .unwrap()
        .body;
    for part in ["team-1", "cluster-1", "replica-1"] {
        assert!(page.contains(part), "{part}");
    }
    let row = elected(&distributor, "team-1", "cluster-1").await.unwrap();
    assert_eq!(row["replica"], "replica-1");
    for field in ["lastElectionTime", "electedAt", "electedLastSeenTime"] {
        humantime::parse_rfc3339(row[field].as_str().unwrap()).unwrap();
    }
    let update = row["updateDuration"].as_i64().unwrap();
    assert!(
        update > 0 && update < row["failoverDuration"].as_i64().unwrap(),
        "{row}"
    );
    let filtered = distributor
        .get_json("/distributor/ha_tracker?tenant=other")
        .await;
    assert_eq!(filtered.unwrap()["elected"], json!([]));

    let services = distributor.get_json("/services").await.unwrap();
    let services = services["services"].as_array().unwrap().clone();
    let status_of = |name: &str| {
        let service = services.iter().find(|service| service["name"] == name);
        service.map(|service| service["status"].clone())
    };
    assert_eq!(status_of("ha-tracker").unwrap(), "Running (1 clusters)");
    let downstream = format!("downstream {}", sink.address());
    assert_eq!(status_of(&downstream).unwrap(), "Running");
    let downstream = services.iter().find(|row| row["name"] == downstream);
    assert_eq!(downstream.unwrap()["address"], sink.url());

    let build = distributor
        .get_json("/api/v1/status/buildinfo")
        .await
        .unwrap();
    assert_eq!(build["status"], "success");
    assert!(build["data"]["version"].is_string(), "{build}");
    assert_text(&distributor.get("/ready").await.unwrap(), 200, &["ready"]);
}

#[tokio::test]
async fn names_from_senders_are_text_on_pages() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("hostile", &ha_config(&sink, &json!({}))).await;
    let hostile = "<script>alert(1)</script>\"'\n\\\u{1b}[2J\u{202e}";
    let series = [ha_series("m", hostile, hostile)];
    assert_stored(
        &distributor.sender("t").send(Version::V1, &series).await,
        Version::V1,
    );
    for path in ["/distributor/ha_tracker", "/memberlist"] {
        let page = distributor.get(path).await.unwrap().body;
        assert!(page.contains("alert(1)"), "{page}");
        // The only script is the page's own.
        assert_eq!(page.matches("<script").count(), 1, "{page}");
        assert!(!page.contains("<script>alert"), "{page}");
        // What moves other characters, or commands a terminal, is shown by its number.
        assert!(!page.contains(['\u{1b}', '\u{202e}']), "{page}");
        assert!(page.contains("\\u{1b}[2J\\u{202e}"), "{page}");
    }
    assert!(elected(&distributor, "t", hostile).await.is_some());
    // Would panic on a page that Prometheus cannot read.
    let metrics = distributor.metrics().await.unwrap();
    let labels = [("cluster", hostile)];
    assert_eq!(
        metrics.sum("cortex_ha_tracker_kv_store_cas_total", &labels),
        1.0
    );
    let answer = distributor
        .sender("t")
        .send(Version::V1, &[ha_series("m", hostile, "b")])
        .await;
    assert_text(&answer, 202, &["alert(1)"]);
    let filter = "/distributor/ha_tracker?tenant=%22%3E%3Cscript%3E";
    let page = distributor.get(filter).await.unwrap().body;
    assert_eq!(page.matches("<script").count(), 1, "{page}");
}

#[tokio::test]
async fn the_configuration_is_shown_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let overrides = folder.path().join("overrides.yaml");
    std::fs::write(&overrides, "overrides: {t: {ha_max_clusters: 7}}\n").unwrap();
    let yaml = json!({
        "distributor": {"downstream": [
            {
                "url": "http://127.0.0.1:1/push",
                "basic_auth": {"username": "user-1", "password": "hunter1"},
                "headers": {"X-Key": "hunter2"},
            },
            {"url": "http://127.0.0.1:2/push", "bearer_token": "hunter3"},
            {"url": "http://user-2:hunter4@127.0.0.1:3/push"},
        ]},
        "limits": {"ha_max_clusters": 5},
        "runtime_config": {"file": overrides},
    });
    let distributor = Distributor::start("secrets", &yaml.to_string()).await;
    // A failure names the downstream as well.
    let answer = distributor
        .sender("t")
        .send(Version::V1, &[plain_series("m")])
        .await;
    assert_retry(&answer, 503, "1", &["127.0.0.1:1"]);
    let mut seen = answer.body + &distributor.process.log();
    for path in ["/", "/services", "/config", "/config?mode=diff", "/metrics"] {
        seen += &distributor.get(path).await.unwrap().body;
        if path != "/metrics" {
            seen += &distributor.get_json(path).await.unwrap().to_string();
        }
    }
    assert!(!seen.contains("hunter"), "a secret is shown: {seen}");
    assert!(seen.contains("user-1") && seen.contains("X-Key"), "{seen}");

    let mode = async |path: &str| distributor.get_json(path).await.unwrap();
    let clusters = |page: &Value| page["limits"]["ha_max_clusters"].clone();
    assert_eq!(clusters(&mode("/config").await), 5);
    assert_eq!(clusters(&mode("/config?mode=diff").await), 5);
    assert_eq!(clusters(&mode("/config?mode=defaults").await), 100);
    assert!(mode("/config").await["limits"]["ha_cluster_label"] == "cluster");
    assert!(mode("/config?mode=diff").await["limits"]["ha_cluster_label"].is_null());
    let of_tenant = |page: &Value, name: &str| page["overrides"]["t"][name].clone();
    let (full, diff) = (
        mode("/runtime_config").await,
        mode("/runtime_config?mode=diff").await,
    );
    assert_eq!(of_tenant(&full, "ha_max_clusters"), 7, "{full}");
    assert_eq!(of_tenant(&diff, "ha_max_clusters"), 7, "{diff}");
    assert!(of_tenant(&diff, "ha_cluster_label").is_null(), "{diff}");
    for path in ["/config?mode=x", "/runtime_config?mode=x"] {
        let answer = distributor.get(path).await.unwrap();
        assert_text(&answer, 400, &["unknown mode", "diff"]);
    }
}

#[tokio::test]
async fn interrupts_end_it_in_peace() {
    let sink = Sink::start().await;
    for sigterm in [false, true] {
        let mut distributor = Distributor::start("signal", &config(&sink, &json!({}))).await;
        if sigterm {
            distributor.process.sigterm();
        } else {
            distributor.process.sigint();
        }
        assert_eq!(distributor.process.wait_exit(SHORT).await.code(), Some(0));
        let log = distributor.process.log();
        assert!(
            log.contains(if sigterm { "SIGTERM" } else { "SIGINT" }),
            "{log}"
        );
        assert!(log.contains("stopped"), "{log}");
    }
}

#[tokio::test]
async fn a_downstream_may_need_tls_and_a_certificate() {
    let sink = Sink::start().await;
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let front = TlsFront::start(&ours.sign("127.0.0.1"), None, sink.address()).await;
    let named = TlsFront::start(&ours.sign("backend.example"), None, sink.address()).await;
    let mutual = TlsFront::start(&ours.sign("127.0.0.1"), Some(&ours), sink.address()).await;
    let (client, stranger) = (ours.sign("client"), theirs.sign("stranger"));
    let ca = ours.path();
    let with = |identity: &Identity| json!({"ca_file": ca, "cert_file": identity.cert, "key_file": identity.key});
    for (what, address, tls, refusal) in [
        ("own authority", front.address, json!({"ca_file": ca}), None),
        (
            "no authority",
            front.address,
            json!({}),
            Some("certificate"),
        ),
        (
            "another authority",
            front.address,
            json!({"ca_file": theirs.path()}),
            Some("UnknownIssuer"),
        ),
        (
            "any",
            front.address,
            json!({"insecure_skip_verify": true}),
            None,
        ),
        (
            "wrong name",
            named.address,
            json!({"ca_file": ca}),
            Some("not valid for name"),
        ),
        (
            "other name",
            named.address,
            json!({"ca_file": ca, "server_name": "backend.example"}),
            None,
        ),
        (
            "wrong other name",
            named.address,
            json!({"ca_file": ca, "server_name": "frontend.example"}),
            Some("not valid for name"),
        ),
        (
            "no certificate",
            mutual.address,
            json!({"ca_file": ca}),
            Some("alert"),
        ),
        ("certificate", mutual.address, with(&client), None),
        (
            "wrong certificate",
            mutual.address,
            with(&stranger),
            Some("alert"),
        ),
    ] {
        let url = format!("https://{address}/api/v1/write");
        let yaml = json!({"distributor": {"downstream": [{"url": url, "tls": tls}]}});
        let distributor = Distributor::start("tls-out", &yaml.to_string()).await;
        for version in BOTH {
            let answer = distributor
                .sender("t")
                .send(version, &[plain_series(what)])
                .await;
            match refusal {
                None => assert_stored(&answer, version),
                Some(part) => assert_retry(&answer, 503, "1", &["downstream", part, "retry"]),
            }
        }
        let arrived = sink.take().len();
        assert_eq!(arrived, if refusal.is_none() { 2 } else { 0 }, "{what}");
    }
    // Not TLS at all.
    let url = format!("https://{}/", sink.address());
    let yaml = json!({"distributor": {"downstream": [{"url": url, "tls": {"ca_file": ca}}]}});
    let distributor = Distributor::start("tls-none", &yaml.to_string()).await;
    let answer = distributor
        .sender("t")
        .send(Version::V1, &[plain_series("m")])
        .await;
    assert_retry(&answer, 503, "1", &["downstream"]);
}
