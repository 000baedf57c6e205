//! Connections on a network in memory.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;

use super::sockets::{Dial, Listen, Socket, Sockets};
use crate::link::simulated::SimulatedNetwork;
use crate::link::streams::Listener;

struct Place {
    network: SimulatedNetwork,
    address: SocketAddr,
}

#[async_trait]
impl Dial for Place {
    async fn dial(&self, to: SocketAddr) -> io::Result<Box<dyn Socket>> {
        Ok(Box::new(self.network.dial(self.address, to).await?))
    }
}

#[async_trait]
impl Listen for Listener {
    async fn accept(&mut self) -> io::Result<(Box<dyn Socket>, SocketAddr)> {
        let (stream, from) = self.next().await;
        Ok((Box::new(stream), from))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address())
    }
}

/// Listens at this address of the network.
pub(crate) fn bind(network: &SimulatedNetwork, address: SocketAddr) -> Sockets {
    Sockets {
        dial: Arc::new(Place {
            network: network.clone(),
            address,
        }),
        listeners: vec![Box::new(network.listen(address))],
    }
}
