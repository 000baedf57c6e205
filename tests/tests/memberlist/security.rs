//! Labels keep rings apart, and TLS keeps others out, whichever kind a member is.

use e2e::{MemberlistGo, MembersPage};
use serde_json::{Value, json};

use crate::common::tls::Authority;
use crate::{Either, Rust, assert_no_complaints, go_with, wait_for_ring};

fn labelled(label: &str) -> Value {
    json!({"cluster_label": label})
}

#[tokio::test]
async fn a_label_admits_its_own_members_only() {
    let go = go_with("go-1", &[], &["-memberlist.cluster-label=ours"]).await;
    let ours = Rust::start_with("d1", &[go.gossip()], labelled("ours")).await;
    wait_for_ring(&[Either::Go(&go), Either::Rust(&ours)]).await;
    assert_no_complaints(&go, &ours);

    for label in ["", "theirs"] {
        let other = Rust::launch("d2", &[go.gossip()], labelled(label)).await;
        let what = "a member with another label to be told so";
        e2e::wait_for(what, e2e::LONG, || async {
            let log = go.process.log();
            if log.contains("label") && !go.complaints().is_empty() {
                return Ok(());
            }
            Err(log)
        })
        .await;
        assert_eq!(go.member_names().await.unwrap(), ["d1", "go-1"]);
        if let Ok(page) = MembersPage::of(&other.distributor).await {
            assert!(!page.members.contains_key("go-1"), "{page:?}");
        }
    }
}

/// Snappy, and TLS, with certificates of one authority.
#[tokio::test]
async fn members_of_both_kinds_speak_tls() {
    let authority = Authority::new("ring");
    let identity = authority.sign("127.0.0.1");
    let (cert, key, ca) = (&identity.cert, &identity.key, authority.path());
    let flags = [
        "-memberlist.tls-enabled=true".to_owned(),
        "-memberlist.compression-algorithm=snappy".to_owned(),
        format!("-memberlist.tls-cert-path={}", cert.display()),
        format!("-memberlist.tls-key-path={}", key.display()),
        format!("-memberlist.tls-ca-path={}", ca.display()),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let tls = json!({
        "tls_enabled": true, "tls_cert_path": cert, "tls_key_path": key, "tls_ca_path": ca,
    });
    let go: MemberlistGo = go_with("go-1", &[], &flags).await;
    go.fill("ha-tracker/t1/many-", 200, "a").await.unwrap();
    let rust = Rust::start_with("d1", &[go.gossip()], tls).await;
    wait_for_ring(&[Either::Go(&go), Either::Rust(&rust)]).await;
    assert_eq!(rust.elected().await.unwrap().len(), 200);
    assert_eq!(rust.sample("c1", "a").await, 200);
    Either::Go(&go).wait_for_elected("c1", "a").await;
    go.cas("ha-tracker/t1/c2", "b", e2e::now_ms())
        .await
        .unwrap();
    Either::Rust(&rust).wait_for_elected("c2", "b").await;
    assert_no_complaints(&go, &rust);
}
