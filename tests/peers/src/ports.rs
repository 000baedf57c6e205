//! Ports for servers that cannot be given port 0.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};

use rand::RngExt as _;

/// A loopback port that no other test gets while this value lives.
///
/// The port lies below the kernel's ephemeral range, so no outgoing connection takes it. The
/// reservation is an abstract Unix socket named after the port: it is seen by every test process
/// and vanishes with the one that holds it. TCP and UDP stay free for the server.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _reservation: UnixListener,
}

impl Port {
    /// Reserves a free port.
    ///
    /// # Panics
    /// When a thousand tries find none.
    pub fn reserve() -> Self {
        let mut random = rand::rng();
        for _ in 0..1000 {
            let number = random.random_range(18_000..32_000);
            let name = UnixAddr::from_abstract_name(format!("e2e-port-{number}")).unwrap();
            let Ok(reservation) = UnixListener::bind_addr(&name) else {
                continue;
            };
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, number));
            if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
                return Self {
                    number,
                    _reservation: reservation,
                };
            }
        }
        panic!("no free port in 1000 tries");
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1:<port>`
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}
