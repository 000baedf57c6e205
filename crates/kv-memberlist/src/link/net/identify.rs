//! Asks what listens at an address, in the protocols that are known.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::connect::connect;
use crate::link::foreign::{ForeignProtocol, Probe};

/// How long one question may take, connecting included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The protocol of the first answer. `own` are the addresses to connect from.
pub(super) async fn identify(
    own: &[IpAddr],
    to: SocketAddr,
    label: &str,
) -> Option<ForeignProtocol> {
    for probe in Probe::all(label) {
        let asked = timeout(ANSWER_TIMEOUT, ask(own, to, &probe)).await;
        if let Ok(Some(protocol)) = asked {
            return Some(protocol);
        }
    }
    None
}

async fn ask(own: &[IpAddr], to: SocketAddr, probe: &Probe) -> Option<ForeignProtocol> {
    let mut stream = connect(own, to).await.ok()?;
    stream.write_all(&probe.bytes).await.ok()?;
    let mut answer = [0; 4];
    let mut size = 0;
    // Most answers tell by their first byte, HTTP's and those of TLS by the ones after it.
    while size < answer.len() {
        match stream.read(answer.get_mut(size..)?).await {
            Ok(0) | Err(_) => break,
            Ok(read) => size += read,
        }
        let found = ForeignProtocol::of_answer(probe, answer.get(..size)?);
        if found.is_some() {
            return found;
        }
    }
    None
}
