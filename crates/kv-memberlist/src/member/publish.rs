//! Publishes entries that this member wrote or took over.

use std::sync::Arc;
use std::time::Duration;

use kv_core::Value;
use rand::seq::IteratorRandom;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::view::View;

/// Members that receive a write at once.
const TOLD_AT_ONCE: usize = 4;

/// Publishes entries as they are written. A write after a quiet time is also sent to some members
/// at once, instead of with the next round: elections are rare, and urgent.
pub(super) async fn publish<V: Value>(
    engine: Arc<dyn Engine>,
    view: Arc<View<V>>,
    gossip_interval: Duration,
) {
    let mut told_at = Instant::now();
    loop {
        view.to_publish().await;
        engine.publish(&mut || view.take_dirty()).await;
        let was_quiet = told_at.elapsed() >= gossip_interval;
        told_at = Instant::now();
        if was_quiet {
            let members = engine.members();
            for address in members.addresses().sample(&mut rand::rng(), TOLD_AT_ONCE) {
                engine.exchange(address);
            }
        }
    }
}
