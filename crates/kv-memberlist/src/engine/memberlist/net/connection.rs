//! A connection, either way.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BufMut as _;
use memberlist_protocol::codec::{StreamMessage, StreamReader};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::super::shared::Shared;
use super::sockets::Socket;
use crate::metrics::Packets;

/// Bytes that are read at once.
const CHUNK: usize = 16 << 10;

/// How long the other side may take to close a TLS connection after the last packet.
const LINGER: Duration = Duration::from_secs(1);

/// A connection, encrypted or not.
pub(crate) struct Connection {
    socket: Box<dyn Socket>,
    is_tls: bool,
    metrics: Packets,
}

impl Connection {
    fn over(socket: Box<dyn Socket>, shared: &Shared) -> Self {
        Self {
            socket,
            is_tls: shared.tls.is_some(),
            metrics: shared.metrics.packets.clone(),
        }
    }
}

/// Connects to a member.
pub(crate) async fn connect(shared: &Shared, to: SocketAddr) -> io::Result<Connection> {
    let socket = shared.dial.dial(to).await?;
    let Some(tls) = &shared.tls else {
        return Ok(Connection::over(socket, shared));
    };
    let name = ServerName::from(to.ip());
    let connector = TlsConnector::from(tls.client.clone());
    let stream = connector.connect(name, socket).await?;
    Ok(Connection::over(Box::new(stream), shared))
}

impl Connection {
    /// What was accepted.
    pub(super) async fn accepted(socket: Box<dyn Socket>, shared: &Shared) -> io::Result<Self> {
        let Some(tls) = &shared.tls else {
            return Ok(Self::over(socket, shared));
        };
        let stream = TlsAcceptor::from(tls.server.clone()).accept(socket).await?;
        Ok(Self::over(Box::new(stream), shared))
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await?;
        self.socket.flush().await?;
        self.metrics.all_sent_bytes.inc_by(bytes.len() as u64);
        Ok(())
    }

    /// Appends what has arrived, 16 KiB at most, to `into`; 0 at the end. With TLS, the connection may
    /// also end without a farewell, and so may one be reset whose sender has closed it before it had
    /// read all that was sent to it: whether all has arrived, what was sent must say itself.
    pub(super) async fn read(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        into.reserve(CHUNK);
        let mut room = into.limit(CHUNK);
        let length = match self.socket.read_buf(&mut room).await {
            Ok(length) => length,
            Err(error) if self.is_end(&error) => 0,
            Err(error) => return Err(error),
        };
        self.metrics.all_received_bytes.inc_by(length as u64);
        Ok(length)
    }

    fn is_end(&self, error: &io::Error) -> bool {
        match error.kind() {
            io::ErrorKind::ConnectionReset => true,
            io::ErrorKind::UnexpectedEof => self.is_tls,
            _ => false,
        }
    }

    /// Says that nothing follows. With TLS, waits until the other side has closed as well, or for a
    /// second: closing with what it sent unread would reset the connection, and lose what was written.
    pub(super) async fn finish(mut self) -> io::Result<()> {
        self.socket.shutdown().await?;
        if self.is_tls {
            let mut rest = Vec::with_capacity(CHUNK);
            let drained = async {
                while self.read(&mut rest).await.is_ok_and(|length| length > 0) {
                    rest.clear();
                }
            };
            let _late = timeout(LINGER, drained).await;
        }
        Ok(())
    }
}

/// Reads the one message of a stream; `None` if the connection ends without any byte.
pub(crate) async fn read_stream(
    connection: &mut Connection,
    mut reader: StreamReader,
) -> io::Result<Option<StreamMessage>> {
    let mut chunk = Vec::with_capacity(CHUNK);
    loop {
        chunk.clear();
        if connection.read(&mut chunk).await? == 0 {
            if reader.is_empty() {
                return Ok(None);
            }
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the connection ended in the middle of a message",
            ));
        }
        let message = reader.feed(&chunk);
        if let Some(message) = message.map_err(io::Error::other)? {
            return Ok(Some(message));
        }
    }
}
