//! One TCP connection for each packet and each exchange of states, on one port; with TLS if it is set.

mod connection;
mod exchange;
mod incoming;
mod outgoing;

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpListener;

pub(super) use self::exchange::{Exchange, exchange_states};
pub(super) use self::incoming::accept;
pub(super) use self::outgoing::{Outgoing, send_packets};

/// Sockets that listen.
pub(crate) struct Listeners(pub(super) Vec<TcpListener>);

impl Listeners {
    /// Where the first listens.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        let first = self.0.first();
        let first = first.ok_or_else(|| io::Error::other("no address to listen on"))?;
        first.local_addr()
    }
}

/// Listens on these addresses, all on one port; 0 stands for one that is free on the first.
pub(crate) async fn bind(addresses: &[IpAddr], mut port: u16) -> io::Result<Listeners> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for &ip in addresses {
        let address = SocketAddr::new(ip, port);
        let listener = TcpListener::bind(address).await.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot listen on TCP {address}: {error}"),
            )
        })?;
        port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(Listeners(listeners))
}
