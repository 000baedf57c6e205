//! Senders: each has one connection, and sends the next request when the one before is answered.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::message::Messages;

/// Connections: Prometheus has one for each shard of its queue, and starts with one.
pub(crate) const CONNECTIONS: usize = 4;
/// Requests of each connection before anything is measured.
pub(crate) const WARM_UP: usize = 8;

/// What the senders saw in one round.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    /// Seconds until each answer, in no order.
    pub(crate) latencies: Vec<f64>,
}

/// Sends for about so many seconds. `mark` is called right before the first measured request and right
/// after the last answer.
pub(crate) fn run(
    server: SocketAddr,
    requests: &[(Vec<u8>, [u16; 2])],
    seconds: f64,
    mut mark: impl FnMut() -> Result<()>,
) -> Result<Answered> {
    let barrier = Barrier::new(CONNECTIONS + 1);
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let barrier = &barrier;
                scope.spawn(move || send(server, requests, number, seconds, barrier))
            })
            .collect();
        barrier.wait();
        let before = mark();
        barrier.wait();
        barrier.wait();
        let after = mark();
        barrier.wait();
        let mut all = Answered::default();
        for sender in senders {
            let latencies = sender
                .join()
                .map_err(|_| anyhow::anyhow!("a sender panicked"))?;
            all.latencies.extend(latencies?);
        }
        before.and(after)?;
        Ok(all)
    })
}

#[expect(clippy::disallowed_methods, reason = "measures real time")]
fn send(
    server: SocketAddr,
    requests: &[(Vec<u8>, [u16; 2])],
    number: usize,
    seconds: f64,
    barrier: &Barrier,
) -> Result<Vec<f64>> {
    let mut turn = number;
    let mut sender = Sender::connect(server);
    let mut push = || {
        let (request, expected) = &requests[turn % requests.len()];
        turn += 1;
        match &mut sender {
            Ok(sender) => sender.push(request, *expected),
            Err(_) => Ok(()),
        }
    };
    let warm: Result<()> = (0..WARM_UP).try_for_each(|_| push());
    // The others must not wait for one that failed.
    barrier.wait();
    barrier.wait();
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut latencies = Vec::new();
    let mut outcome = warm;
    while outcome.is_ok() {
        let begin = Instant::now();
        if begin >= end {
            break;
        }
        outcome = push();
        latencies.push(begin.elapsed().as_secs_f64());
    }
    barrier.wait();
    // A server may end a thread with its connection, and what that has used is no longer known.
    barrier.wait();
    outcome?;
    sender?;
    Ok(latencies)
}

/// One connection.
pub(crate) struct Sender {
    stream: TcpStream,
    answers: Messages<TcpStream>,
}

impl Sender {
    pub(crate) fn connect(server: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(server).with_context(|| server.to_string())?;
        stream.set_nodelay(true)?;
        Ok(Self {
            answers: Messages::new(stream.try_clone()?),
            stream,
        })
    }

    /// The connection alone, with one descriptor.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Sends a request and waits for its answer, which must have one of these statuses.
    pub(crate) fn push(&mut self, request: &[u8], expected: [u16; 2]) -> Result<()> {
        self.stream.write_all(request)?;
        let answer = self.answers.next()?.context("the connection was closed")?;
        let status = answer.status();
        ensure!(
            status.is_some_and(|status| expected.contains(&status)),
            "answered {status:?}: {}",
            String::from_utf8_lossy(answer.body)
        );
        Ok(())
    }
}
