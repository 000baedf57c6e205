//! A program that runs in several copies, of which one works.
//!
//! The copies elect one of them over etcd, Consul, or gossip among themselves. Start it twice:
//!
//! ```sh
//! cargo run -p kv-election --example batch_job -- a etcd 127.0.0.1:2379
//! cargo run -p kv-election --example batch_job -- b etcd 127.0.0.1:2379
//!
//! cargo run -p kv-election --example batch_job -- a gossip 127.0.0.1:7951 127.0.0.1:7952
//! cargo run -p kv-election --example batch_job -- b gossip 127.0.0.1:7952 127.0.0.1:7951
//! ```
//!
//! Stop the one that works: the other takes over, after three seconds if it was killed. Freeze it
//! (SIGSTOP) and let it continue: it does not work again until it is elected again.
//!
//! With `LEDGER=HOST:PORT`, each piece of work writes a line `TOKEN NAME` to that address and reads
//! whether it was taken. What listens there must refuse a token that is smaller than one before.
//! `CARELESS=1` writes from a thread that nothing stops: only the ledger keeps order then.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use kv_core::Store;
use kv_election::{CODEC, Lease, Participant, Term, Timing};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, backend, address, others @ ..] = arguments.as_slice() else {
        return Err("usage: batch_job NAME etcd|consul|gossip ADDRESS [ANOTHER COPY]...".into());
    };
    let timing = Timing::with_timeout(Duration::from_secs(3));
    let (store, member, timing) = match backend.as_str() {
        "etcd" => (etcd(address)?, None, timing),
        "consul" => (consul(address)?, None, timing),
        "gossip" => {
            let (store, member) = gossip(name, address.parse()?, others).await?;
            // Copies that begin at the same time may each elect themselves at first.
            let timing = timing.and_settle(Duration::from_secs(1));
            (store, Some(member), timing)
        }
        other => return Err(format!("unknown backend {other:?}").into()),
    };

    let participant = Participant::new(store, "jobs/nightly-report", name, timing)?;
    println!("{name}: ready");
    tokio::select! {
        ended = participant.run(|term| work(name, term)) => ended??,
        _ = tokio::signal::ctrl_c() => println!("{name}: stopping"),
    }
    if let Some(member) = member {
        member.leave().await;
    }
    Ok(())
}

/// Works until the term is over.
#[allow(
    clippy::disallowed_methods,
    reason = "the careless thread is not one of the runtime"
)]
async fn work(name: &str, term: Term) -> Result<(), Error> {
    println!("{name}: works with token {}", term.token());
    if std::env::var_os("CARELESS").is_some() {
        let (name, token) = (name.to_owned(), term.token());
        std::thread::spawn(move || {
            loop {
                let _ = piece(&name, token);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
    }
    loop {
        piece(name, term.token())?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// One piece of work, with the token of the term in which it was begun.
fn piece(name: &str, token: u64) -> Result<(), Error> {
    let Ok(ledger) = std::env::var("LEDGER") else {
        return Ok(());
    };
    let mut connection = TcpStream::connect(ledger)?;
    connection.write_all(format!("{token} {name}\n").as_bytes())?;
    let mut answer = String::new();
    BufReader::new(connection).read_line(&mut answer)?;
    if answer.trim() != "taken" {
        println!("{name}: token {token} was refused");
    }
    Ok(())
}

fn etcd(address: &str) -> Result<Arc<dyn Store<Lease>>, Error> {
    let config = kv_etcd::EtcdConfig::new([address]);
    Ok(Arc::new(kv_etcd::open(&config, None, CODEC)?))
}

fn consul(address: &str) -> Result<Arc<dyn Store<Lease>>, Error> {
    let config = kv_consul::ConsulConfig {
        host: settings::SecretUrl::new(address),
        ..kv_consul::ConsulConfig::default()
    };
    Ok(Arc::new(kv_consul::open(&config, None, CODEC)?))
}

async fn gossip(
    name: &str,
    address: SocketAddr,
    others: &[String],
) -> Result<(Arc<dyn Store<Lease>>, kv_memberlist::Memberlist), Error> {
    let config = kv_memberlist::MemberlistConfig {
        node_name: name.to_owned(),
        bind_addr: vec![address.ip()],
        bind_port: address.port(),
        join_members: others.to_vec(),
        rejoin_interval: Duration::from_secs(1),
        leave_timeout: Duration::from_secs(3),
        ..kv_memberlist::MemberlistConfig::default()
    };
    let mut registry = prometheus_client::registry::Registry::default();
    let (store, member) = kv_memberlist::start(config, CODEC, &mut registry).await?;
    // From here on it knows who has been elected before.
    member.ready().await;
    Ok((Arc::new(store), member))
}
