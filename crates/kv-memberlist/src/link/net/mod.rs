//! The real network: UDP for small packets, TCP for others, both on one port.
//!
//! Over TCP a packet is preceded by its length, 4 bytes, the most significant first. A connection
//! carries packets only from the host that opened it.
//!
//! `0.0.0.0` listens on all IPv4 addresses. `::` listens on all addresses of both families on
//! Linux, so it must not be combined with `0.0.0.0`.

mod connect;
mod identify;
mod incoming;
mod outgoing;
mod places;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::link::{Link, Reception};
use crate::metrics::Metrics;
use incoming::{Incoming, accept, receive_datagrams};
use outgoing::{Network, Outgoing};
use places::{Bounds, Places};

/// Connections from other hosts. Each member opens one, and many members may run on one host.
const MAX_INCOMING: Bounds = Bounds {
    members: 512,
    others: 64,
    per_host: 32,
};
/// Ports tried until one is free for both protocols on all addresses.
const PORT_ATTEMPTS: usize = 16;

/// Listens on these addresses. Port 0 means one that is free on all of them. `may_change`: whether
/// this member would change to dskit's memberlist, for those that speak it.
pub(crate) async fn bind(
    addresses: &[IpAddr],
    port: u16,
    metrics: Metrics,
    reception: Arc<dyn Reception>,
    may_change: bool,
) -> io::Result<Arc<dyn Link>> {
    let incoming = Incoming {
        reception,
        metrics,
        may_change,
    };
    bind_bounded(addresses, port, incoming, MAX_INCOMING).await
}

async fn bind_bounded(
    addresses: &[IpAddr],
    port: u16,
    incoming: Incoming,
    max_incoming: Bounds,
) -> io::Result<Arc<dyn Link>> {
    let sockets = bind_all(addresses, port).await?;
    let metrics = incoming.metrics.clone();
    let mut tasks = JoinSet::new();
    let mut udp = Vec::with_capacity(sockets.len());
    let places = Places::new(max_incoming, metrics.clone());
    for sockets in sockets {
        // Until it is known to be writable, tokio does not even try.
        sockets.udp.writable().await?;
        let socket = Arc::new(sockets.udp);
        tasks.spawn(receive_datagrams(Arc::clone(&socket), incoming.clone()));
        tasks.spawn(accept(sockets.tcp, Arc::clone(&places), incoming.clone()));
        udp.push((sockets.address, socket));
    }
    let own = udp.iter().map(|(address, _)| address.ip());
    let outgoing = Outgoing::new(own.filter(|ip| !ip.is_unspecified()).collect(), metrics);
    Ok(Arc::new(Network {
        udp,
        outgoing: Arc::new(outgoing),
        tasks: Mutex::new(tasks),
        runtime: Handle::current(),
    }))
}

struct Sockets {
    address: SocketAddr,
    udp: UdpSocket,
    tcp: TcpListener,
}

async fn bind_all(addresses: &[IpAddr], port: u16) -> io::Result<Vec<Sockets>> {
    let mut attempts = if port == 0 { PORT_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        match try_bind_all(addresses, port).await {
            Err(error) if attempts > 0 && error.kind() == ErrorKind::AddrInUse => {}
            result => return result,
        }
    }
}

async fn try_bind_all(addresses: &[IpAddr], mut port: u16) -> io::Result<Vec<Sockets>> {
    let mut all = Vec::with_capacity(addresses.len());
    for &ip in addresses {
        let sockets = bind_one((ip, port).into()).await?;
        port = sockets.address.port();
        all.push(sockets);
    }
    if all.is_empty() {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "no address to listen on; give at least one, such as 0.0.0.0",
        ));
    }
    Ok(all)
}

async fn bind_one(address: SocketAddr) -> io::Result<Sockets> {
    let tcp = TcpListener::bind(address)
        .await
        .map_err(|error| explain("TCP", address, &error))?;
    let address = tcp.local_addr()?;
    let udp = UdpSocket::bind(address)
        .await
        .map_err(|error| explain("UDP", address, &error))?;
    Ok(Sockets { address, udp, tcp })
}

fn explain(protocol: &str, address: SocketAddr, error: &io::Error) -> io::Error {
    let hint = match error.kind() {
        ErrorKind::AddrInUse => {
            "; choose a port that nothing listens on (`::` listens on all IPv4 addresses as well)"
        }
        ErrorKind::AddrNotAvailable => "; give an address of this host, or 0.0.0.0",
        ErrorKind::PermissionDenied => "; choose a port from 1024 on",
        _ => "",
    };
    io::Error::new(
        error.kind(),
        format!("cannot listen on {protocol} {address}: {error}{hint}"),
    )
}
