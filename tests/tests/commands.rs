//! The commands for operators, run as programs against real fleets: `status` and `explain`, with TLS
//! and credentials, and `migration status` with the same flags.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Stdio};

use common::tls::Authority;
use common::{ha_config, ha_series};
use e2e::{Distributor, HaTracker, LONG, Port, Sink, Version, http_client, wait_for};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

struct Ran {
    status: i32,
    out: String,
    error: String,
}

/// Runs the binary; apart from the runtime's worker, since it waits for distributors.
async fn run(arguments: &[&str]) -> Ran {
    run_with_input(arguments, Stdio::null()).await
}

async fn run_with_input(arguments: &[&str], input: Stdio) -> Ran {
    let mut command = Command::new(Distributor::program());
    command.args(arguments).stdin(input);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    Ran {
        status: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

/// As [`run`], on a terminal where an operator types this line.
async fn run_and_type(arguments: &[&str], line: &str) -> Ran {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let mut options = File::options();
    let keyboard = options.read(true).write(true);
    let keyboard = keyboard.open(name.to_str().unwrap()).unwrap();
    let mut typing = File::from(terminal);
    // It waits there until it is read.
    typing.write_all(format!("{line}\n").as_bytes()).unwrap();
    let ran = run_with_input(arguments, Stdio::from(keyboard)).await;
    drop(typing);
    ran
}

/// Distributors that gossip, each with a downstream.
struct Fleet {
    all: Vec<Distributor>,
    targets: String,
    _sink: Sink,
}

impl Fleet {
    async fn start(count: usize, more: &Value) -> Self {
        let sink = Sink::start().await;
        let ports: Vec<Port> = (0..count).map(|_| Port::reserve()).collect();
        let join = [ports[0].address().to_string()];
        let mut all = Vec::new();
        for (index, port) in ports.iter().enumerate() {
            let mut config = json!({"memberlist": {
                "node_name": format!("d{index}"),
                "randomize_node_name": false,
                "bind_port": port.number(),
                "join_members": join,
                "abort_if_cluster_join_fails": false,
            }});
            common::merge(&mut config, more);
            let name = format!("fleet-{index}");
            all.push(Distributor::start(&name, &ha_config(&sink, &config)).await);
        }
        let targets: Vec<String> = all
            .iter()
            .map(|one| one.http_address().to_string())
            .collect();
        Self {
            targets: targets.join(","),
            all,
            _sink: sink,
        }
    }

    async fn status(&self, more: &[&str]) -> Ran {
        run(&[&["status", "--targets", &self.targets], more].concat()).await
    }

    async fn explain(&self, more: &[&str]) -> Ran {
        run(&[&["explain", "--targets", &self.targets], more].concat()).await
    }

    async fn push(&self, index: usize, cluster: &str, replica: &str) -> u16 {
        let sender = self.all[index].sender("t");
        let series = [ha_series("m", cluster, replica)];
        sender.send(Version::V1, &series).await.status
    }

    async fn wait_elected(&self, cluster: &str) {
        for distributor in &self.all {
            wait_for("the election everywhere", LONG, || async {
                let page: HaTracker = distributor.page("/distributor/ha_tracker").await?;
                match page.elected.iter().any(|one| one.cluster == cluster) {
                    true => Ok(()),
                    false => Err(format!("{page:?}")),
                }
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_fleet_at_a_glance() {
    let mut fleet = Fleet::start(3, &json!({})).await;
    assert_eq!(fleet.push(0, "prod", "a").await, 200);
    fleet.wait_elected("prod").await;
    assert_eq!(fleet.push(1, "prod", "b").await, 202);
    wait_for("a fleet that needs nothing", LONG, || async {
        let ran = fleet.status(&[]).await;
        match ran.status {
            0 => Ok(ran),
            _ => Err(ran.out + &ran.error),
        }
    })
    .await;
    let ran = fleet.status(&[]).await;
    assert_eq!(ran.status, 0, "{}", ran.out);
    println!("{}", ran.out);
    assert!(ran.out.starts_with("3 distributor(s) at "), "{}", ran.out);
    assert!(
        ran.out.contains(": nothing needs attention\n"),
        "{}",
        ran.out
    );
    assert!(!ran.out.contains('\x1b'), "colours without a terminal");
    let json: Value = serde_json::from_str(&fleet.status(&["--json"]).await.out).unwrap();
    assert_eq!(json["ok"], true);
    assert_eq!(
        json["instances"][2]["activeMembers"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    assert_eq!(json["instances"][2]["clusters"], 1);

    // One that left --targets out is noted, and is no reason to worry.
    let two = fleet.targets.rsplit_once(',').unwrap().0.to_owned();
    let ran = run(&["status", "--targets", &two]).await;
    assert_eq!(ran.status, 0, "{}", ran.out);
    assert!(
        ran.out.contains("no target of this command is: d2"),
        "{}",
        ran.out
    );

    // One that died is.
    fleet.all[2].process.sigkill();
    let ran = fleet.status(&[]).await;
    assert_eq!(ran.status, 1);
    println!("{}", ran.out);
    assert!(ran.out.contains("CRITICAL  "), "{}", ran.out);
    assert!(
        ran.out
            .contains("Its pages cannot be read: Connection refused"),
        "{}",
        ran.out
    );
}

#[tokio::test]
async fn elections_that_differ_are_found() {
    // Two that know nothing of each other.
    let other = json!({"memberlist": {"node_name": "other"}});
    let (one, two) = (
        Fleet::start(1, &json!({})).await,
        Fleet::start(1, &other).await,
    );
    assert_eq!(one.push(0, "prod", "a").await, 200);
    assert_eq!(two.push(0, "prod", "b").await, 200);
    let targets = format!("{},{}", one.targets, two.targets);
    let elections = format!("t/prod: \"a\" on {}, \"b\" on {}", one.targets, two.targets);
    // Each needs a moment to count itself as active.
    wait_for("both differences", LONG, || async {
        let ran = run(&["status", "--targets", &targets]).await;
        assert_eq!(ran.status, 1, "{}", ran.out);
        let flat = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(&elections), "{flat}");
        match flat.contains("The distributors see different members") {
            true => Ok(()),
            false => Err(flat),
        }
    })
    .await;

    let question = ["--tenant", "t", "--cluster", "prod", "--replica", "a"];
    let ran = run(&[&["explain", "--targets", &targets][..], &question].concat()).await;
    assert_eq!(ran.status, 1, "{}", ran.out);
    assert!(
        ran.out.starts_with("t/prod, a sample of \"a\": DIFFERS\n"),
        "{}",
        ran.out
    );
}

#[tokio::test]
async fn what_becomes_of_a_sample_is_explained_as_it_happens() {
    let fleet = Fleet::start(2, &json!({})).await;
    let asked = async |replica: &str| {
        let question = ["--tenant", "t", "--cluster", "prod", "--replica", replica];
        fleet.explain(&question).await
    };
    let ran = asked("a").await;
    assert_eq!(ran.status, 1, "{}", ran.out);
    assert!(
        ran.out.contains("No distributor knows this cluster"),
        "{}",
        ran.out
    );

    assert_eq!(fleet.push(0, "prod", "a").await, 200);
    fleet.wait_elected("prod").await;
    assert_eq!(fleet.push(1, "prod", "b").await, 202);
    let ran = asked("a").await;
    println!("{}", ran.out);
    assert_eq!(ran.status, 0, "{}", ran.out);
    assert!(
        ran.out.starts_with("t/prod, a sample of \"a\": STORED\n"),
        "{}",
        ran.out
    );
    let ran = asked("b").await;
    println!("{}", ran.out);
    assert_eq!(ran.status, 0, "{}", ran.out);
    assert!(
        ran.out
            .starts_with("t/prod, a sample of \"b\": DEDUPLICATED\n"),
        "{}",
        ran.out
    );
    let seen = format!("\"b\" is seen by {}.", fleet.all[1].http_address());
    assert!(ran.out.contains(&seen), "{}", ran.out);
    let question = ["--tenant", "t", "--cluster", "prod", "--json"];
    let json: Value = serde_json::from_str(&fleet.explain(&question).await.out).unwrap();
    assert_eq!((&json["elected"], &json["ok"]), (&json!("a"), &json!(true)));
}

#[tokio::test]
async fn commands_bring_certificates_and_credentials() {
    let authority = Authority::new("ours");
    let (server, client) = (authority.sign("127.0.0.1"), authority.sign("operator"));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(
        path("pages.yaml"),
        "credentials: [{username: op, password: p}]",
    )
    .unwrap();
    std::fs::write(path("password"), "p\n").unwrap();
    std::fs::write(path("token"), "p\n").unwrap();
    let config = json!({
        "pages_credentials_file": path("pages.yaml"),
        "server": {"http_tls_config": {
            "cert_file": server.cert,
            "key_file": server.key,
            "client_ca_file": authority.path(),
            "client_auth_type": "RequireAndVerifyClientCert",
        }},
    });
    let sink = Sink::start().await;
    let distributor = Distributor::launch("secured", &ha_config(&sink, &config));
    let target = format!("https://{}", distributor.http_address());
    let (ca, cert, key, password, token) = (
        authority.path().display().to_string(),
        client.cert.display().to_string(),
        client.key.display().to_string(),
        path("password"),
        path("token"),
    );
    let tls = [
        "--targets",
        &target,
        "--ca-file",
        &ca,
        "--cert-file",
        &cert,
        "--key-file",
        &key,
    ];
    let user = ["--username", "op", "--password-file", &password];
    wait_for("a status of 0", LONG, || async {
        let ran = run(&[&["status"][..], &tls, &user].concat()).await;
        match ran.status {
            0 => Ok(()),
            _ => Err(ran.out + &ran.error),
        }
    })
    .await;
    let question = ["--tenant", "t", "--cluster", "c"];
    for command in [
        [&["explain"][..], &question].concat(),
        vec!["migration", "status", "--interval", "10ms"],
    ] {
        let ran = run(&[&command[..], &tls, &user].concat()).await;
        assert!(!ran.out.contains("401"), "{command:?}: {}", ran.out);
        // Without credentials, and with wrong ones.
        for more in [&[][..], &["--bearer-token-file", &token]] {
            let ran = run(&[&command[..], &tls, more].concat()).await;
            assert_eq!(ran.status, 1, "{command:?}");
            assert!(ran.out.contains("401"), "{command:?}: {}", ran.out);
        }
    }
    // Without a client certificate there is no conversation.
    let ran = run(&[&["status"][..], &tls[..4], &user].concat()).await;
    assert_eq!(ran.status, 1, "{}", ran.out);
    assert!(ran.out.contains("Its pages cannot be read"), "{}", ran.out);
    drop(http_client());
    assert_stored_nowhere(&sink);
}

/// The commands read pages; none of them sends samples.
fn assert_stored_nowhere(sink: &Sink) {
    assert_eq!(sink.attempts(), 0);
}

#[tokio::test]
async fn wrong_command_lines_are_answered_with_the_usage() {
    for (arguments, problem) in [
        (&["status"][..], "--targets is missing"),
        (
            &["status", "--targets", "a", "--fast"],
            "unknown flag --fast",
        ),
        (&["explain", "--targets", "a"], "--tenant is missing"),
        (
            &["explain", "--targets", "a", "--tenant", "t"],
            "--cluster is missing",
        ),
        (&["statsu"], "did you mean status?"),
        (
            &["migration", "status", "--targets", "a", "--username", "u"],
            "must be set together",
        ),
    ] {
        let ran = run(arguments).await;
        assert_eq!(ran.status, 64, "{arguments:?}");
        assert!(ran.error.contains(problem), "{arguments:?}: {}", ran.error);
    }
    for command in [&["status", "--help"][..], &["explain", "-h"]] {
        let ran = run(command).await;
        assert_eq!((ran.status, ran.error.as_str()), (0, ""), "{command:?}");
        assert!(ran.out.contains("--password-file"), "{}", ran.out);
    }
}

/// Over both stores of a multi store, of which the secondary is not mirrored to.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_forgotten_in_every_store() {
    let etcd = e2e::Etcd::start("etcd").await;
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("pages.yaml");
    let password = folder.path().join("password").display().to_string();
    std::fs::write(&pages, "credentials: [{username: op, password: p}]").unwrap();
    std::fs::write(&password, "p").unwrap();
    let config = |enabled: bool| {
        json!({
            "pages_credentials_file": pages,
            "distributor": {"ha_tracker": {"enable_forget": enabled, "kvstore": {
                "store": "multi",
                "multi": {"primary": "inmemory", "secondary": "etcd", "mirror_enabled": true},
                "etcd": {"endpoints": [etcd.endpoint()]},
            }}},
        })
    };
    let sink = Sink::start().await;
    let distributor = Distributor::start("forgets", &ha_config(&sink, &config(true))).await;
    let target = distributor.http_address().to_string();
    let sender = distributor.sender("t");
    let answer = sender
        .send(Version::V1, &[ha_series("m", "old", "a")])
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let stored = async || {
        let keys = etcd
            .etcdctl(&["get", "--prefix", "--keys-only", "ha"])
            .await;
        keys.unwrap().contains("ha-tracker/t/old")
    };
    wait_for("the mirrored entry", LONG, || async {
        match stored().await {
            true => Ok(()),
            false => Err(distributor.process.log()),
        }
    })
    .await;
    let flags = ["--tenant", "t", "--cluster", "old"];
    let user = ["--username", "op", "--password-file", &password];
    let forget = async |target: &str, more: &[&str]| {
        run(&[&["forget", "--targets", target][..], &flags, more].concat()).await
    };
    let ran = forget(&target, &[]).await;
    assert!(
        ran.status == 1 && ran.error.contains("401"),
        "{}",
        ran.error
    );
    // Asked twice: without a confirmation, and with a wrong one, nothing happens.
    let ran = forget(&target, &user).await;
    assert!(ran.error.contains("add --confirm a"), "{}", ran.error);
    let ran = forget(&target, &[&user[..], &["--confirm", "b"]].concat()).await;
    assert!(
        ran.status == 1 && ran.error.contains("not confirmed"),
        "{}",
        ran.error
    );
    // On a terminal it asks, and the answer is the name of the elected replica.
    let arguments = [&["forget", "--targets", &target][..], &flags, &user].concat();
    for typed in ["yes", "b", ""] {
        let ran = run_and_type(&arguments, typed).await;
        assert_eq!(ran.status, 1, "{typed:?}: {}{}", ran.out, ran.error);
        assert!(
            ran.error.contains("t/old: \"a\" is elected."),
            "{}",
            ran.error
        );
        assert!(ran.error.contains("nothing was changed"), "{}", ran.error);
    }
    assert!(stored().await);

    let ran = run_and_type(&arguments, " a ").await;
    println!("{}{}", ran.out, ran.error);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.error);
    assert!(
        ran.out.starts_with("t/old: forgotten (multi: removed, "),
        "{}",
        ran.out
    );
    wait_for("both stores to be empty", LONG, || async {
        match stored().await {
            false => Ok(()),
            true => Err(distributor.process.log()),
        }
    })
    .await;
    let log = distributor.process.log();
    let line = log
        .lines()
        .find(|line| line.contains("a cluster was forgotten by request"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    for part in [
        "tenant=t",
        "cluster=old",
        "replica=a",
        "by=op",
        "from=127.0.0.1",
        "etcd: ",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let ran = forget(&target, &[&user[..], &["--confirm", "a"]].concat()).await;
    assert!(
        ran.status == 1 && ran.error.contains("no such cluster"),
        "{}",
        ran.error
    );

    // Off unless it is configured.
    let off = Distributor::start("keeps", &ha_config(&sink, &config(false))).await;
    let ran = forget(&off.http_address().to_string(), &user).await;
    assert!(
        ran.status == 1 && ran.error.contains("enable_forget"),
        "{}",
        ran.error
    );
}
