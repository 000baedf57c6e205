//! Asks what listens at an address, in the protocols that are known.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::connect::connect;
use crate::link::foreign::{Answered, ForeignProtocol, Probe};

/// How long one question may take, connecting included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Most bytes of an answer that are read.
const MAX_ANSWER: usize = 256;

/// The protocol of the first answer. `own` are the addresses to connect from.
pub(super) async fn identify(
    own: &[IpAddr],
    to: SocketAddr,
    label: &str,
) -> Option<ForeignProtocol> {
    for probe in Probe::all(label) {
        let found = put(own, to, &probe, |answer, is_complete| {
            ForeignProtocol::of_answer(&probe, answer, is_complete)
        });
        let found = found.await;
        if found.is_some() {
            return found;
        }
    }
    None
}

/// The kind of gossip of the first answer, to probes of dskit's memberlist only.
pub(super) async fn ask(own: &[IpAddr], to: SocketAddr, label: &str) -> Option<Answered> {
    for probe in Probe::of_dskit(label) {
        let found = put(own, to, &probe, Answered::of_answer).await;
        if found.is_some() {
            return found;
        }
    }
    None
}

/// What `read` makes of the answer to a probe: it gets what has arrived, and whether that is all.
async fn put<T>(
    own: &[IpAddr],
    to: SocketAddr,
    probe: &Probe,
    read: impl Fn(&[u8], bool) -> Option<T> + Send + Sync,
) -> Option<T> {
    let answered = async {
        let mut stream = connect(own, to).await.ok()?;
        stream.write_all(&probe.bytes).await.ok()?;
        let mut answer = [0; MAX_ANSWER];
        let mut size = 0;
        // Most answers tell by their first byte, HTTP's and those of TLS by the ones after it.
        while size < answer.len() {
            match stream.read(answer.get_mut(size..)?).await {
                Ok(0) | Err(_) => break,
                Ok(read) => size += read,
            }
            let found = read(answer.get(..size)?, false);
            if found.is_some() {
                return found;
            }
        }
        read(answer.get(..size)?, true)
    };
    timeout(ANSWER_TIMEOUT, answered).await.ok().flatten()
}
