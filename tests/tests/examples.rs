//! The examples of the crates do what they say.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use e2e::{
    Consul, Distributor, Etcd, LONG, Port, Process, Sink, Version, example, example_with, wait_for,
};
use serde_json::json;

use common::{ha_config, ha_series};

/// Waits until the program has printed this line.
async fn says(process: &Process, line: &str) {
    wait_for(
        &format!("{} to say {line:?}", process.name()),
        LONG,
        || async {
            let log = process.log();
            match log.lines().any(|printed| printed == line) {
                true => Ok(()),
                false => Err(log),
            }
        },
    )
    .await;
}

/// Waits until this is the last line that the program has printed.
async fn says_last(process: &Process, line: &str) {
    wait_for(
        &format!("{} to say {line:?} last", process.name()),
        LONG,
        || async {
            let log = process.log();
            match log.lines().last() == Some(line) {
                true => Ok(()),
                false => Err(log),
            }
        },
    )
    .await;
}

/// Receives pieces of work with their tokens, and takes none with an older token than one before.
struct Ledger {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<(u64, String)>>>,
    refused: Arc<Mutex<Vec<(u64, String)>>>,
}

impl Ledger {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ledger = Self {
            address: listener.local_addr().unwrap(),
            taken: Arc::default(),
            refused: Arc::default(),
        };
        let (taken, refused) = (Arc::clone(&ledger.taken), Arc::clone(&ledger.refused));
        // These end with the test's process. Each connection has a thread of its own: the writer of
        // one may be frozen before it has written.
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let connection = connection.unwrap();
                let (taken, refused) = (Arc::clone(&taken), Arc::clone(&refused));
                std::thread::spawn(move || record(connection, &taken, &refused));
            }
        });
        ledger
    }

    /// Waits until the newest piece of work that was taken is of this copy.
    async fn is_written_by(&self, name: &str) {
        wait_for(&format!("{name} to work"), LONG, || async {
            match self.taken.lock().unwrap().last() {
                Some((_, writer)) if writer == name => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// The copies that worked, and their tokens, in turn.
    fn turns(&self) -> Vec<(u64, String)> {
        let mut turns = self.taken.lock().unwrap().clone();
        turns.dedup();
        turns
    }
}

/// Reads a piece of work, takes or refuses it, and answers; nothing if its writer was killed before
/// the end of the line.
fn record(
    connection: TcpStream,
    taken: &Mutex<Vec<(u64, String)>>,
    refused: &Mutex<Vec<(u64, String)>>,
) {
    let mut connection = BufReader::new(connection);
    let mut line = String::new();
    let read = connection.read_line(&mut line);
    let Some(line) = read.ok().and_then(|_| line.strip_suffix('\n')) else {
        return;
    };
    let (token, name) = line.split_once(' ').unwrap();
    let token: u64 = token.parse().unwrap();
    let mut taken = taken.lock().unwrap();
    let is_old = taken.last().is_some_and(|(newest, _)| token < *newest);
    let list = if is_old {
        &mut *refused.lock().unwrap()
    } else {
        &mut *taken
    };
    list.push((token, name.to_owned()));
    // The writer may have been killed.
    let answer = ["taken", "refused"][usize::from(is_old)];
    let _ = writeln!(connection.get_mut(), "{answer}");
}

/// Kills, freezes and stops copies; `arguments` are those of the two copies.
async fn copies_of_a_batch_job_take_turns(arguments: [Vec<String>; 2]) {
    let ledger = Ledger::start();
    let address = ledger.address.to_string();
    let start = |number: usize| {
        let name = ["a", "b"][number];
        let arguments = [vec![name.to_owned()], arguments[number].clone()].concat();
        example_with(name, "batch_job", &arguments, &[("LEDGER", &address)])
    };
    let mut a = start(0);
    says(&a, "a: works with token 1").await;
    let mut b = start(1);
    says_last(&b, "b: ready").await;

    // Killed: the other takes over, and the first is another candidate when it is back.
    ledger.is_written_by("a").await;
    a.sigkill();
    ledger.is_written_by("b").await;
    a.restart();
    says_last(&a, "a: ready").await;

    // Frozen for longer than the timeout, and back: it does not work on.
    b.sigstop();
    ledger.is_written_by("a").await;
    b.sigcont();

    // Stopped in peace while it waits: the other one works on.
    says_last(&a, "a: works with token 3").await;
    b.sigint();
    let status = b.wait_exit(LONG).await;
    assert!(status.success(), "{status}: {}", b.log());

    let turns = [
        (1, "a".to_owned()),
        (2, "b".to_owned()),
        (3, "a".to_owned()),
    ];
    assert_eq!(ledger.turns(), turns);
    assert_eq!(*ledger.refused.lock().unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_copies_of_a_batch_job_one_works_by_gossip() {
    let ports = [Port::reserve(), Port::reserve()];
    let arguments = [0, 1].map(|number| {
        let addresses = [number, 1 - number].map(|number| ports[number].address().to_string());
        [vec!["gossip".to_owned()], addresses.to_vec()].concat()
    });
    copies_of_a_batch_job_take_turns(arguments).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_copies_of_a_batch_job_one_works_over_etcd() {
    let etcd = Etcd::start("etcd").await;
    let arguments = vec!["etcd".to_owned(), etcd.endpoint()];
    copies_of_a_batch_job_take_turns([arguments.clone(), arguments]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_copies_of_a_batch_job_one_works_over_consul() {
    let consul = Consul::start("consul").await;
    let arguments = vec!["consul".to_owned(), consul.host()];
    copies_of_a_batch_job_take_turns([arguments.clone(), arguments]).await;
}

/// A copy whose work cannot be stopped is frozen past its term and thawed while another works: its
/// token protects what it writes to.
#[tokio::test(flavor = "multi_thread")]
async fn no_write_with_an_old_token_is_taken() {
    let etcd = Etcd::start("etcd").await;
    let ledger = Ledger::start();
    let address = ledger.address.to_string();
    let start = |name: &str| {
        let arguments = [name.to_owned(), "etcd".to_owned(), etcd.endpoint()];
        let environment = [("LEDGER", address.as_str()), ("CARELESS", "1")];
        example_with(name, "batch_job", &arguments, &environment)
    };
    let mut frozen_while_it_writes = TcpStream::connect(ledger.address).unwrap();
    frozen_while_it_writes.write_all(b"1 ").unwrap();
    let a = start("a");
    ledger.is_written_by("a").await;
    let _b = start("b");
    a.sigstop();
    ledger.is_written_by("b").await;
    a.sigcont();
    says(&a, "a: token 1 was refused").await;
    ledger.is_written_by("b").await;
    let turns = [(1, "a".to_owned()), (2, "b".to_owned())];
    assert_eq!(ledger.turns(), turns);
    assert!(
        ledger
            .refused
            .lock()
            .unwrap()
            .iter()
            .all(|(token, name)| (*token, name.as_str()) == (1, "a"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_of_elections_goes_to_another_distributor() {
    let sink = Sink::start().await;
    let mesh_config = |_: usize, section: serde_json::Value| json!({"memberlist": section});
    let base = ha_config(&sink, &json!({}));
    let mut mesh = e2e::GossipMesh::launch(2, move |number, section| {
        let mut config: serde_json::Value = serde_json::from_str(&base).unwrap();
        common::merge(&mut config, &mesh_config(number, section));
        config.to_string()
    });
    mesh.wait_ready().await;
    let send = async |distributor: &Distributor, cluster: &str, replica: &str| {
        let series = ha_series("m", cluster, replica);
        let answer = distributor.sender("t").send(Version::V1, &[series]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    send(&mesh.distributors[0], "c0", "r0").await;
    let addresses: Vec<String> = mesh
        .distributors
        .iter()
        .map(|distributor| format!("http://{}", distributor.grpc_address()))
        .collect();
    let watcher = example("watcher", "watch_elections", &addresses);
    says(&watcher, "t/c0: - -> r0").await;
    send(&mesh.distributors[1], "c1", "r1").await;
    says(&watcher, "t/c1: - -> r1").await;

    // What only the killed one knew would be lost with it.
    wait_for("the other to know of both", LONG, || async {
        let page = mesh.distributors[1]
            .get_json("/distributor/ha_tracker")
            .await?;
        match page["elected"].as_array().map(Vec::len) {
            Some(2) => Ok(()),
            _ => Err(page.to_string()),
        }
    })
    .await;
    mesh.distributors[0].process.sigkill();
    send(&mesh.distributors[1], "c2", "r1").await;
    says(&watcher, "t/c2: - -> r1").await;
    let log = watcher.log();
    assert_eq!(log.matches("t/c0").count(), 1, "{log}");
    assert_eq!(log.matches("t/c1").count(), 1, "{log}");
}
