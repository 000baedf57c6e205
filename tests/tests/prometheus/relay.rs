//! [`Relay`]: a network between two peers that a test can cut.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Passes TCP connections on to one address, until dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    is_cut: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Starts one to `peer`, which may come and go.
    pub(crate) async fn start(peer: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_cut, state) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((near, _)) = listener.accept().await else {
                    continue;
                };
                connections.spawn(connection(near, peer, state.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            is_cut,
            task,
        }
    }

    /// Where to connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks every connection, and all new ones until [`Relay::heal`].
    pub(crate) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    /// Ends [`Relay::cut`].
    pub(crate) fn heal(&self) {
        self.is_cut.send_replace(false);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(mut near: TcpStream, peer: SocketAddr, mut is_cut: watch::Receiver<bool>) {
    let pass_on = async {
        // An unavailable peer cannot be distinguished from one that closes the connection.
        let Ok(mut far) = TcpStream::connect(peer).await else {
            return;
        };
        let _ = copy_bidirectional(&mut near, &mut far).await;
    };
    tokio::select! {
        biased;
        _ = is_cut.wait_for(|is_cut| *is_cut) => {}
        () = pass_on => {}
    }
}
