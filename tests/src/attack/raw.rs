//! HTTP/1.1 by hand, for requests that no client library would send.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// One connection.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
}

impl RawClient {
    /// Connects.
    ///
    /// # Errors
    /// When the distributor does not take the connection.
    pub async fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the distributor has closed the connection.
    pub async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The head of a push of remote write 1.0 for a tenant; `framing` is its `Content-Length` or
    /// `Transfer-Encoding` line.
    ///
    /// # Errors
    /// When the distributor has closed the connection.
    pub async fn push_head(&mut self, tenant: &str, framing: &str) -> std::io::Result<()> {
        let head = format!(
            "POST /api/v1/push HTTP/1.1\r\nHost: d\r\nX-Scope-OrgID: {tenant}\r\n\
             Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n{framing}\r\n\r\n"
        );
        self.send(head.as_bytes()).await
    }

    /// One chunk of a body with `Transfer-Encoding: chunked`.
    ///
    /// # Errors
    /// When the distributor has closed the connection.
    pub async fn chunk(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.send(format!("{:x}\r\n", bytes.len()).as_bytes())
            .await?;
        self.send(bytes).await?;
        self.send(b"\r\n").await
    }

    /// The status of the answer, if one begins within this time; `None` also when the connection is
    /// closed without one.
    pub async fn status(&mut self, limit: Duration) -> Option<u16> {
        let mut head = [0; 12];
        let read = self.stream.read_exact(&mut head);
        timeout(limit, read).await.ok()?.ok()?;
        std::str::from_utf8(head.get(9..)?).ok()?.parse().ok()
    }
}
