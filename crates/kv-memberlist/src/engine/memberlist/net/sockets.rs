//! Where connections come from: TCP, or a network in memory.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// One end of a connection.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// Makes connections.
#[async_trait]
pub(crate) trait Dial: Send + Sync + 'static {
    /// Connects; the caller limits how long that takes.
    async fn dial(&self, to: SocketAddr) -> io::Result<Box<dyn Socket>>;
}

/// Accepts connections at one address.
#[async_trait]
pub(crate) trait Listen: Send + 'static {
    /// The next connection, and where it comes from.
    async fn accept(&mut self) -> io::Result<(Box<dyn Socket>, SocketAddr)>;

    /// Where it listens.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// All that a member needs to be reached and to reach others.
pub(crate) struct Sockets {
    pub(crate) dial: Arc<dyn Dial>,
    pub(crate) listeners: Vec<Box<dyn Listen>>,
}

impl Sockets {
    /// Where the first listens.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        let first = self.listeners.first();
        let first = first.ok_or_else(|| io::Error::other("no address to listen on"))?;
        first.local_addr()
    }
}

struct Tcp;

#[async_trait]
impl Dial for Tcp {
    async fn dial(&self, to: SocketAddr) -> io::Result<Box<dyn Socket>> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

#[async_trait]
impl Listen for TcpListener {
    async fn accept(&mut self) -> io::Result<(Box<dyn Socket>, SocketAddr)> {
        let (stream, from) = Self::accept(self).await?;
        stream.set_nodelay(true)?;
        Ok((Box::new(stream), from))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self)
    }
}

/// Listens on these addresses over TCP, all on one port; 0 stands for one that is free on the first.
pub(crate) async fn bind(addresses: &[IpAddr], mut port: u16) -> io::Result<Sockets> {
    let mut listeners: Vec<Box<dyn Listen>> = Vec::with_capacity(addresses.len());
    for &ip in addresses {
        let address = SocketAddr::new(ip, port);
        let listener = TcpListener::bind(address).await.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot listen on TCP {address}: {error}"),
            )
        })?;
        port = listener.local_addr()?.port();
        listeners.push(Box::new(listener));
    }
    Ok(Sockets {
        dial: Arc::new(Tcp),
        listeners,
    })
}
