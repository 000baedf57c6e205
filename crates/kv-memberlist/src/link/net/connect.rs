//! Makes connections, and says why one failed.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a connection failed.
pub(super) struct Why {
    pub(super) text: String,
    pub(super) stage: Stage,
}

/// How far a connection came that failed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The other end refused it.
    Refused,
    /// It could not be made for another reason.
    Unconnected,
    /// It broke, or what was sent was not read.
    Connected,
}

impl Why {
    pub(super) fn unconnected(text: String) -> Self {
        let stage = Stage::Unconnected;
        Self { text, stage }
    }

    pub(super) fn broken(text: String) -> Self {
        let stage = Stage::Connected;
        Self { text, stage }
    }
}

/// Connects, from the address of `own` that is of the same family.
pub(super) async fn connect(own: &[IpAddr], to: SocketAddr) -> Result<TcpStream, Why> {
    let unconnected = |error: io::Error| Why::unconnected(describe(&error));
    let socket = socket_from(own, to).map_err(unconnected)?;
    let connected = timeout(CONNECT_TIMEOUT, socket.connect(to)).await;
    let connected = connected.map_err(|_| {
        Why::unconnected(format!(
            "no connection within {} s",
            CONNECT_TIMEOUT.as_secs()
        ))
    })?;
    let stream = connected.map_err(|error| Why {
        text: describe(&error),
        stage: if error.kind() == ErrorKind::ConnectionRefused {
            Stage::Refused
        } else {
            Stage::Unconnected
        },
    })?;
    // A packet is written in two parts, the second of which must not wait for an answer.
    stream.set_nodelay(true).map_err(unconnected)?;
    Ok(stream)
}

fn socket_from(own: &[IpAddr], to: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if to.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(from) = own.iter().find(|ip| ip.is_ipv4() == to.is_ipv4()) {
        socket.bind(SocketAddr::new(*from, 0))?;
    }
    Ok(socket)
}

/// "connection refused" rather than "Connection refused (os error 111)".
pub(super) fn describe(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::BrokenPipe
        | ErrorKind::TimedOut => error.kind().to_string(),
        _ => error.to_string(),
    }
}
