//! Many members in one process, on a network in memory with faults.
//!
//! A seed and the earlier packets determine which packets are lost, delayed and overtaken, but not
//! which members gossip with each other, since the engine uses the operating system's randomness.

use std::net::SocketAddr;
use std::sync::Arc;

use kv_core::{Codec, Value};
use prometheus_client::registry::Registry;

use crate::config::{MemberlistConfig, Protocol};
use crate::engine::memberlist::bind_simulated;
use crate::link::Reception;
pub use crate::link::simulated::{Faults, SimulatedNetwork, Stranger};
use crate::member::{
    Memberlist, StartError, admission, fixed_protocol, start_memberlist, start_on,
};
use crate::metrics::Metrics;
use crate::store::MemberlistStore;

impl SimulatedNetwork {
    /// Starts a member on this network, at `address`: with chitchat, unless `config` names memberlist.
    pub async fn start<V, C>(
        &self,
        address: SocketAddr,
        config: MemberlistConfig,
        codec: C,
        registry: &mut Registry,
    ) -> Result<(MemberlistStore<V>, Memberlist), StartError>
    where
        V: Value,
        C: Codec<V>,
    {
        let metrics = Metrics::register(registry);
        if let Some((Protocol::Memberlist, chosen)) = fixed_protocol(&config) {
            let sockets = bind_simulated(self, address);
            return start_memberlist(sockets, self.random(), config, codec, metrics, chosen);
        }
        let admission = admission(&config, &metrics)?;
        let inbox: Arc<dyn Reception> = Arc::clone(&admission) as _;
        let link = self.connect(address, inbox);
        start_on(admission, link, config, codec, metrics).await
    }
}
