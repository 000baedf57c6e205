//! Certificates, keys, CA certificates and secrets that change while the distributor runs, and what
//! SIGHUP reads again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::tls::{Authority, Identity, TlsFront};
use common::{assert_stored, ha_config, ha_series, plain_series};
use e2e::{
    Distributor, Etcd, EtcdOptions, HaTracker, LONG, Port, ServerTlsFiles, Sink, Version,
    http_client, wait_for,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Certificate, key and CA of a distributor, which are replaced as a whole.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Atomically, one by one, as tools for certificates do.
    fn put(&self, name: &str, from: &Path) {
        let temporary = self.path("new");
        fs::copy(from, &temporary).unwrap();
        fs::rename(&temporary, self.path(name)).unwrap();
    }

    fn put_identity(&self, identity: &Identity) {
        self.put("cert.pem", &identity.cert);
        self.put("key.pem", &identity.key);
    }
}

async fn logs(distributor: &Distributor, part: &str) {
    wait_for(&format!("{part:?} in the log"), LONG, || async {
        let log = distributor.process.log();
        match log.contains(part) {
            true => Ok(()),
            false => Err(log),
        }
    })
    .await;
}

async fn wait_reloaded(distributor: &Distributor, files: &str, times: f64) {
    let what = format!("{files} to be read again");
    wait_for(&what, LONG, || async {
        let metrics = distributor.metrics().await?;
        let reloads = metrics.sum("cortex_distributor_file_reloads_total", &[("files", files)]);
        match reloads >= times {
            true => Ok(()),
            false => Err(format!("{reloads}: {}", distributor.process.log())),
        }
    })
    .await;
}

/// One that trusts this authority alone.
fn client(authority: &Authority) -> reqwest::Client {
    // Also installs what TLS needs.
    drop(http_client());
    let root = reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    let builder = reqwest::Client::builder().no_proxy();
    builder.tls_certs_only([root]).build().unwrap()
}

async fn page(
    distributor: &Distributor,
    path: &str,
    client: &reqwest::Client,
) -> Result<String, String> {
    let url = format!("https://{}{path}", distributor.http_address());
    let answer = client.get(url).send().await;
    let answer = answer.map_err(|error| format!("{error:?}"))?;
    answer.text().await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_listener_shows_a_new_certificate_without_closing_connections() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = Files::new();
    files.put_identity(&old.sign("127.0.0.1"));
    let config = json!({"server": {"http_tls_config": {
        "cert_file": files.path("cert.pem"), "key_file": files.path("key.pem"),
    }}});
    let distributor = Distributor::launch("listener", &config.to_string());
    let connected = client(&old);
    wait_for("TLS", LONG, || page(&distributor, "/ready", &connected)).await;

    // By itself, without a signal.
    files.put_identity(&new.sign("127.0.0.1"));
    wait_for("the new certificate", LONG, || async {
        page(&distributor, "/ready", &client(&new)).await
    })
    .await;
    page(&distributor, "/ready", &client(&old))
        .await
        .unwrap_err();
    // It trusts the old authority alone, so this is its connection of before.
    page(&distributor, "/ready", &connected).await.unwrap();

    fs::write(files.path("key.pem"), "no key").unwrap();
    logs(&distributor, "files have changed and cannot be used").await;
    let index = page(&distributor, "/", &client(&new)).await.unwrap();
    assert!(
        index.contains("Files have changed and cannot be used: server.http_tls_config: "),
        "{index}"
    );
    let metrics = page(&distributor, "/metrics", &client(&new)).await.unwrap();
    for line in [
        "cortex_distributor_file_reload_successful{files=\"server.http_tls_config\"} 0",
        "cortex_distributor_file_reloads_total{files=\"server.http_tls_config\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    files.put_identity(&new.sign("127.0.0.1"));
    wait_for("the condition to end", LONG, || async {
        let index = page(&distributor, "/", &client(&new)).await?;
        match index.contains("cannot be used") {
            true => Err(index),
            false => Ok(()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_downstream_is_trusted_and_shown_what_the_files_say_now() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let sink = Sink::start().await;
    let server = ours.sign("127.0.0.1");
    let front = TlsFront::start(&server, Some(&ours), sink.address()).await;
    let files = Files::new();
    files.put("ca.pem", &other.path());
    files.put_identity(&other.sign("distributor"));
    let path = sink
        .url()
        .split_once(&sink.address().to_string())
        .unwrap()
        .1
        .to_owned();
    let config = json!({"distributor": {"downstream": [{
        "name": "far",
        "url": format!("https://{}{path}", front.address),
        "tls": {
            "ca_file": files.path("ca.pem"),
            "cert_file": files.path("cert.pem"),
            "key_file": files.path("key.pem"),
        },
    }]}});
    let distributor = Distributor::start("downstream", &config.to_string()).await;
    let sender = distributor.sender("t");
    let push = async || sender.send(Version::V1, &[plain_series("m")]).await;
    let refused = push().await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.body.contains("UnknownIssuer"), "{refused:?}");

    files.put("ca.pem", &ours.path());
    wait_reloaded(&distributor, "distributor.downstream[far].tls", 1.0).await;
    let refused = push().await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(!refused.body.contains("UnknownIssuer"), "{refused:?}");

    files.put_identity(&ours.sign("distributor"));
    wait_for("the new client certificate", LONG, || async {
        let answer = push().await;
        match answer.status {
            200 => Ok(()),
            _ => Err(answer.body),
        }
    })
    .await;

    // Its connections survive files that cannot be used any more, and files that nothing trusts.
    fs::write(files.path("ca.pem"), "no certificate").unwrap();
    logs(&distributor, "files have changed and cannot be used").await;
    assert_stored(&push().await, Version::V1);
    files.put("ca.pem", &other.path());
    distributor.process.sighup();
    wait_reloaded(&distributor, "distributor.downstream[far].tls", 3.0).await;
    assert_stored(&push().await, Version::V1);
}

#[tokio::test]
async fn secrets_of_a_downstream_are_read_again() {
    let (bearer, basic) = (Sink::start().await, Sink::start().await);
    let files = Files::new();
    fs::write(files.path("token"), "first\n").unwrap();
    fs::write(files.path("password"), "first").unwrap();
    let config = json!({"distributor": {"downstream": [
        {"name": "a", "url": bearer.url(), "bearer_token_file": files.path("token")},
        {"name": "b", "url": basic.url(), "basic_auth": {
            "username": "me", "password_file": files.path("password"),
        }},
    ]}});
    let distributor = Distributor::start("secrets", &config.to_string()).await;
    let sender = distributor.sender("t");
    let sent = async || {
        assert_stored(
            &sender.send(Version::V1, &[plain_series("m")]).await,
            Version::V1,
        );
        [&bearer, &basic].map(|sink| {
            let headers = sink.take().remove(0).headers;
            headers["authorization"].to_str().unwrap().to_owned()
        })
    };
    assert_eq!(sent().await, ["Bearer first", "Basic bWU6Zmlyc3Q="]);
    fs::write(files.path("token"), "second\n").unwrap();
    fs::write(files.path("password"), "second").unwrap();
    distributor.process.sighup();
    for name in ["a", "b"] {
        let files = format!("distributor.downstream[{name}].authentication");
        wait_reloaded(&distributor, &files, 1.0).await;
    }
    assert_eq!(sent().await, ["Bearer second", "Basic bWU6c2Vjb25k"]);
    fs::remove_file(files.path("token")).unwrap();
    distributor.process.sighup();
    logs(&distributor, "files have changed and cannot be used").await;
    assert_eq!(sent().await, ["Bearer second", "Basic bWU6c2Vjb25k"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_is_shown_the_new_client_certificate() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let server = ours.sign("127.0.0.1");
    let options = EtcdOptions {
        tls: Some(ServerTlsFiles {
            cert: server.cert,
            key: server.key,
            client_ca: Some(ours.path()),
        }),
        ..EtcdOptions::default()
    };
    let etcd = Etcd::start_with("etcd", &options).await;
    let files = Files::new();
    files.put_identity(&other.sign("distributor"));
    let sink = Sink::start().await;
    let kvstore = json!({"store": "etcd", "etcd": {
        "endpoints": [etcd.endpoint()],
        "tls_enabled": true,
        "tls_ca_path": ours.path(),
        "tls_cert_path": files.path("cert.pem"),
        "tls_key_path": files.path("key.pem"),
        "dial_timeout": "1s",
    }});
    let more = json!({"distributor": {"ha_tracker": {"kvstore": kvstore}}});
    let mut distributor = Distributor::launch("etcd-client", &ha_config(&sink, &more));
    logs(&distributor, "the watch was interrupted").await;
    files.put_identity(&ours.sign("distributor"));
    distributor.wait_ready().await;
    let sender = distributor.sender("t");
    let answer = sender.send(Version::V1, &[ha_series("m", "c", "a")]).await;
    assert_stored(&answer, Version::V1);
}

/// A member of a ring with TLS.
async fn member(
    name: &str,
    files: &Files,
    port: &Port,
    join: &[String],
    sink: &Sink,
) -> Distributor {
    let memberlist = json!({
        "protocol": "memberlist",
        "node_name": name,
        "bind_port": port.number(),
        "join_members": join,
        "abort_if_cluster_join_fails": false,
        "tls_enabled": true,
        "tls_cert_path": files.path("cert.pem"),
        "tls_key_path": files.path("key.pem"),
        "tls_ca_path": files.path("ca.pem"),
    });
    Distributor::start(name, &ha_config(sink, &json!({"memberlist": memberlist}))).await
}

async fn knows(distributor: &Distributor, cluster: &str) {
    let what = format!("{} to know {cluster}", distributor.process.name());
    wait_for(&what, LONG, || async {
        let page: HaTracker = distributor.page("/distributor/ha_tracker").await?;
        match page
            .elected
            .iter()
            .any(|elected| elected.cluster == cluster)
        {
            true => Ok(()),
            false => Err(distributor.process.log()),
        }
    })
    .await;
}

#[tokio::test]
async fn members_of_a_ring_change_their_authority() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = Files::new();
    files.put("ca.pem", &old.path());
    files.put_identity(&old.sign("127.0.0.1"));
    let sink = Sink::start().await;
    let ports = [Port::reserve(), Port::reserve(), Port::reserve()];
    let first = member("m1", &files, &ports[0], &[], &sink).await;
    let join = [ports[0].address().to_string()];
    let second = member("m2", &files, &ports[1], &join, &sink).await;
    let elect = async |cluster: &str| {
        let series = [ha_series("m", cluster, "a")];
        let answer = first.sender("t").send(Version::V1, &series).await;
        assert_stored(&answer, Version::V1);
    };
    elect("before").await;
    knows(&second, "before").await;

    files.put("ca.pem", &new.path());
    files.put_identity(&new.sign("127.0.0.1"));
    for distributor in [&first, &second] {
        wait_reloaded(distributor, "memberlist.tls", 1.0).await;
    }
    // It has never known the old one.
    let third = member("m3", &files, &ports[2], &join, &sink).await;
    elect("after").await;
    for distributor in [&second, &third] {
        knows(distributor, "after").await;
    }
}

#[tokio::test]
async fn a_hang_up_reads_the_configuration_again() {
    let sink = Sink::start().await;
    let with = |level: &str, more: &Value| {
        let mut config = json!({"server": {"log_level": level}, "limits": {"ha_max_clusters": 5}});
        common::merge(&mut config, more);
        config
    };
    let first = ha_config(&sink, &with("info", &json!({})));
    let distributor = Distributor::start("hang-up", &first).await;
    distributor.process.sighup();
    logs(
        &distributor,
        "the rest of the configuration has not changed",
    )
    .await;
    assert!(!distributor.process.log().contains("level=debug"));

    let other = with("debug", &json!({"limits": {"ha_max_clusters": 6}}));
    distributor.write_file("config.yaml", &ha_config(&sink, &other));
    distributor.process.sighup();
    logs(&distributor, "the level of the log changes").await;
    logs(
        &distributor,
        "settings have changed that take effect only when the process is restarted\" \
         settings=limits.ha_max_clusters",
    )
    .await;
    // Gossip tells what it does.
    logs(&distributor, "level=debug").await;

    distributor.write_file("config.yaml", "server: {log_level: loud}");
    distributor.process.sighup();
    logs(&distributor, "the configuration cannot be used").await;
    logs(&distributor, "server.log_level: got").await;
    assert_eq!(distributor.get("/ready").await.unwrap().status, 200);
}
