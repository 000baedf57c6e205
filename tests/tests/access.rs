//! Credentials of senders and of the pages, and names of downstreams with several addresses.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::path::Path;

use common::{assert_stored, assert_text, config, ha_config, ha_series, plain_series};
use e2e::tracker::ListElectedRequest;
use e2e::{Distributor, GrpcClient, LONG, Sender, Sink, Version, http_client, wait_for};
use serde_json::json;

const ALICE: &str = "Basic YWxpY2U6d29uZGVy";
const TOKEN: &str = "Bearer t0ken";

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

async fn push(
    distributor: &Distributor,
    tenant: Option<&str>,
    header: Option<&str>,
) -> e2e::Answer {
    let mut sender = Sender::new(&distributor.push_url());
    if let Some(tenant) = tenant {
        sender = sender.tenant(tenant);
    }
    if let Some(header) = header {
        sender = sender.header("Authorization", header);
    }
    sender.send(Version::V1, &[plain_series("m")]).await
}

/// Status of a page, and its challenge.
async fn page(
    distributor: &Distributor,
    path: &str,
    header: Option<&str>,
) -> (u16, Option<String>) {
    let mut request = http_client().get(distributor.url(path));
    if let Some(header) = header {
        request = request.header("Authorization", header);
    }
    let answer = request.send().await.unwrap();
    let challenge = answer.headers().get("www-authenticate");
    let challenge = challenge.map(|value| value.to_str().unwrap().to_owned());
    (answer.status().as_u16(), challenge)
}

#[tokio::test]
async fn senders_need_their_credentials_and_may_be_bound_to_tenants() {
    let sink = Sink::start().await;
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "senders.yaml",
        "credentials:\n\
         - {username: alice, password_file: alice}\n\
         - {name: agent, bearer_token: t0ken, tenants: [one]}\n\
         - {username: bob, password: b, tenants: [one, two]}\n",
    );
    write(folder.path(), "alice", "wonder\n");
    let config = config(
        &sink,
        &json!({"senders_credentials_file": folder.path().join("senders.yaml")}),
    );
    let distributor = Distributor::start("senders", &config).await;
    let bob = "Basic Ym9iOmI=";
    for (tenant, header, status, part) in [
        (Some("one"), None, 401, "Authorization is missing"),
        (Some("one"), Some("Bearer wrong"), 401, "not known"),
        (
            Some("one"),
            Some("Basic YWxpY2U6d3Jvbmc="),
            401,
            "not known",
        ),
        (Some("one"), Some("t0ken"), 401, "must be Basic, or Bearer"),
        (Some("two"), Some(TOKEN), 403, "its tenants are one"),
        (Some("three"), Some(bob), 403, "its tenants are one, two"),
        (None, Some(bob), 401, "no org id"),
        (None, Some(ALICE), 401, "no org id"),
    ] {
        let answer = push(&distributor, tenant, header).await;
        assert_text(&answer, status, &[part]);
        let challenge = answer.header("www-authenticate");
        let asks = status == 401 && !part.contains("org id");
        assert_eq!(challenge.is_some(), asks, "{answer:?}");
    }
    assert_eq!(sink.attempts(), 0);
    for (tenant, header, stored_for) in [
        (Some("any"), ALICE, "any"),
        (Some("one"), TOKEN, "one"),
        (None, TOKEN, "one"),
        (Some("two"), bob, "two"),
    ] {
        let answer = push(&distributor, tenant, Some(header)).await;
        assert_stored(&answer, Version::V1);
        let received = sink.take().remove(0);
        assert_eq!(received.tenant.as_deref(), Some(stored_for));
        // Ours is not for the downstream.
        assert!(!received.headers.contains_key("authorization"));
    }
    // The pages are another matter.
    assert_eq!(page(&distributor, "/metrics", None).await.0, 200);
    let log = distributor.process.log();
    assert!(log.contains("cause=unauthenticated"), "{log}");
    assert!(!log.contains("t0ken") && !log.contains("wonder"), "{log}");

    // A password is replaced; the old one is no longer taken.
    write(folder.path(), "alice", "land");
    distributor.process.sighup();
    wait_for("the new password", LONG, || async {
        let answer = push(&distributor, Some("any"), Some("Basic YWxpY2U6bGFuZA==")).await;
        match answer.status {
            200 => Ok(()),
            _ => Err(answer.body),
        }
    })
    .await;
    assert_eq!(
        push(&distributor, Some("any"), Some(ALICE)).await.status,
        401
    );
    // A file with a mistake changes nothing.
    write(
        folder.path(),
        "senders.yaml",
        "credentials: [{username: x}]",
    );
    distributor.process.sighup();
    wait_for("the mistake in the log", LONG, || async {
        let log = distributor.process.log();
        match log.contains("an entry needs one of password") {
            true => Ok(()),
            false => Err(log),
        }
    })
    .await;
    assert_stored(
        &push(&distributor, Some("one"), Some(TOKEN)).await,
        Version::V1,
    );
}

#[tokio::test]
async fn pages_need_their_own_credentials_and_probes_none() {
    let sink = Sink::start().await;
    let folder = tempfile::tempdir().unwrap();
    let credentials = "credentials: [{username: alice, password: wonder}]";
    write(folder.path(), "pages.yaml", credentials);
    let config = config(
        &sink,
        &json!({"pages_credentials_file": folder.path().join("pages.yaml")}),
    );
    let distributor = Distributor::start("pages", &config).await;
    for path in [
        "/",
        "/metrics",
        "/config",
        "/runtime_config",
        "/memberlist",
        "/distributor/ha_tracker",
        "/services",
        "/api/v1/status/buildinfo",
        "/nothing",
    ] {
        let (status, challenge) = page(&distributor, path, None).await;
        assert_eq!(status, 401, "{path}");
        assert!(challenge.unwrap().starts_with("Basic realm="), "{path}");
        assert_eq!(page(&distributor, path, Some(TOKEN)).await.0, 401, "{path}");
        let expected = if path == "/nothing" { 404 } else { 200 };
        let known = page(&distributor, path, Some(ALICE)).await;
        assert_eq!(known, (expected, None), "{path}");
    }
    assert_eq!(page(&distributor, "/ready", None).await.0, 200);
    assert_eq!(page(&distributor, "/healthz", None).await.0, 200);
    // Senders are another matter.
    assert_stored(&push(&distributor, Some("t"), None).await, Version::V1);
    let log = distributor.process.log();
    assert!(
        log.contains("a request for a page without valid credentials was refused"),
        "{log}"
    );
}

#[tokio::test]
async fn the_same_holds_over_grpc() {
    let sink = Sink::start().await;
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "senders.yaml",
        "credentials: [{username: alice, password: wonder}, {bearer_token: t0ken, tenants: [t]}]",
    );
    let config = ha_config(
        &sink,
        &json!({"senders_credentials_file": folder.path().join("senders.yaml")}),
    );
    let distributor = Distributor::start("grpc", &config).await;
    let series = [ha_series("m", "c", "a")];
    let client = GrpcClient::new(&distributor);
    let refused = client.push(Some("t"), &series).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{refused:?}");
    let bound = client.clone().with_authorization(TOKEN);
    let refused = bound.push(Some("u"), &series).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused:?}");
    bound.push(Some("t"), &series).await.unwrap();
    // Elections of all tenants are not for one that is bound to a tenant.
    for (header, gets_in) in [(None, false), (Some(TOKEN), false), (Some(ALICE), true)] {
        let mut request = tonic::Request::new(ListElectedRequest::default());
        if let Some(header) = header {
            let header = header.parse().unwrap();
            request.metadata_mut().insert("authorization", header);
        }
        let listed = client.tracker().list_elected(request).await;
        assert_eq!(listed.is_ok(), gets_in, "{header:?}: {listed:?}");
    }
}

#[tokio::test]
async fn a_useless_file_of_credentials_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "pages.yaml",
        "credentials: [{username: hush}]",
    );
    let yaml = json!({"pages_credentials_file": folder.path().join("pages.yaml")}).to_string();
    let mut distributor = Distributor::launch("useless", &yaml);
    assert_eq!(distributor.process.wait_exit(LONG).await.code(), Some(1));
    let log = distributor.process.log();
    assert!(
        log.contains("pages_credentials_file") && log.contains("credentials[0].password: missing"),
        "{log}"
    );
}

/// `localhost` is 127.0.0.1, and on most machines ::1 as well, where nothing listens.
#[tokio::test]
async fn a_downstream_may_be_a_name() {
    let sink = Sink::start().await;
    let port = sink.address().port();
    let config = json!({"distributor": {"downstream": [
        {"url": sink.url().replace("127.0.0.1", "localhost")},
        {"name": "unknown", "url": format!("http://name.invalid:{port}/")},
    ]}});
    let distributor = Distributor::start("named", &config.to_string()).await;
    let answer = push(&distributor, Some("t"), None).await;
    assert_text(&answer, 503, &["cannot resolve name.invalid", "retry"]);
    assert_eq!(sink.attempts(), 1);
    for attempts in 2..6 {
        push(&distributor, Some("t"), None).await;
        assert_eq!(sink.attempts(), attempts);
    }
}
