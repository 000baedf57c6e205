//! Joining: finding the others, and keeping contact.

use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use kv_core::Mergeable;
use rand::seq::IteratorRandom;
use tokio::time::Instant;

use crate::engine::chitchat::Contacts;
use crate::engine::chitchat::catch_up::{Patience, catch_up};
use crate::member::Inner;
use crate::member::resolve::{Resolved, Resolver};
use crate::store::Phase;

/// Attempts after which a member that everybody refused holds itself for alone.
const REFUSALS: u64 = 3;

/// How long unanswered attempts go on before a member holds itself for alone.
pub(crate) const SILENCE: Duration = Duration::from_secs(10);

/// Addresses that one attempt contacts.
const CONTACTS: usize = 16;

/// Time between two looks whether anybody was heard.
const LOOK: Duration = Duration::from_millis(50);

/// What is said of a member that has no room for this one.
const NO_ROOM: &str = "its table of members is full, dead ones included: it has room again when it \
                       forgets some, after left_ingesters_timeout";

struct Joiner<'a, V> {
    inner: &'a Inner<V>,
    resolver: Resolver,
    began: Instant,
}

/// Joins, then keeps contact for ever; returns only to say why this member must not go on.
pub(crate) async fn join<V>(inner: Arc<Inner<V>>, resolver: Resolver) -> String
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    let joiner = Joiner {
        inner: &inner,
        resolver,
        began: Instant::now(),
    };
    if let Err(fatal) = joiner.find_the_others().await {
        return fatal;
    }
    joiner.keep_contact().await
}

impl<V> Joiner<'_, V>
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    /// Returns when this member is ready.
    async fn find_the_others(&self) -> Result<(), String> {
        let config = &self.inner.config;
        if self.resolver.is_empty() {
            self.inner.become_ready("nobody is to be joined").await;
            return Ok(());
        }
        let mut backoff = config.min_join_backoff;
        for attempt in 1.. {
            let resolved = self.contact_others().await;
            let heard = self.hear_within(backoff).await;
            if heard {
                catch_up(self.inner, &resolved.addresses, Patience::Endless).await;
                return Ok(());
            }
            let waiting = self.waiting_for(&resolved);
            let nobody_else = resolved.addresses.is_empty() && resolved.failed.is_empty();
            let insists = config.abort_if_cluster_join_fails && !nobody_else;
            if self.is_alone(&resolved, attempt) && !insists {
                tracing::warn!(
                    "no other member was found, going on alone and trying again: {waiting}"
                );
                self.inner.become_ready("alone").await;
                return Ok(());
            }
            let is_last = config.max_join_retries != 0 && attempt >= config.max_join_retries;
            let fast = config.abort_if_cluster_fast_join_fails && !nobody_else;
            if fast || (insists && is_last) {
                return Err(format!(
                    "memberlist: could not join within {attempt} attempts: {waiting}"
                ));
            }
            tracing::info!(attempt, "joining: {waiting}");
            self.inner.set_phase(Phase::Joining(waiting));
            backoff = (backoff * 2).min(config.max_join_backoff).min(SILENCE / 4);
        }
        Ok(())
    }

    /// Resolves the names and contacts whom this member does not know.
    async fn contact_others(&self) -> Resolved {
        let mut resolved = self.resolver.resolve().await;
        let own = self.inner.gossip.wire().advertised();
        resolved.addresses.retain(|address| *address != own);
        self.inner
            .gossip
            .wire()
            .admission()
            .name(&resolved.addresses);
        let known = self.inner.liveness().addresses();
        let unknown = resolved
            .addresses
            .iter()
            .filter(|address| !known.contains(address));
        for address in unknown.sample(&mut rand::rng(), CONTACTS) {
            self.inner.gossip.contact(*address);
        }
        resolved
    }

    async fn hear_within(&self, patience: Duration) -> bool {
        let heard = async {
            while !self.contacts().any() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(patience, heard).await.is_ok()
    }

    /// Whether nobody else can be expected to be there.
    fn is_alone(&self, resolved: &Resolved, attempt: u64) -> bool {
        let wire = self.inner.gossip.wire();
        let refuses = |address: &SocketAddr| wire.trouble(*address).is_some();
        // A name that does not resolve may be that of a cluster.
        let refused = resolved.failed.is_empty() && resolved.addresses.iter().all(refuses);
        // Whoever has no room for this member is there, and has elections that it does not know.
        let is_full = |address: &SocketAddr| self.contacts().has_no_room(*address);
        let silent = self.began.elapsed() >= SILENCE && !resolved.addresses.iter().any(is_full);
        (refused && attempt >= REFUSALS) || silent
    }

    fn waiting_for(&self, resolved: &Resolved) -> String {
        let wire = self.inner.gossip.wire();
        let mut waiting: Vec<String> = resolved
            .addresses
            .iter()
            .take(5)
            .map(|address| {
                let trouble = if self.contacts().has_no_room(*address) {
                    Some(NO_ROOM.to_owned())
                } else {
                    wire.trouble(*address)
                };
                let trouble = trouble.unwrap_or_else(|| "no answer yet".to_owned());
                format!("{address} ({trouble})")
            })
            .collect();
        let more = resolved.addresses.len().saturating_sub(5);
        if more > 0 {
            waiting.push(format!("{more} more"));
        }
        waiting.extend(resolved.failed.iter().take(5).cloned());
        if waiting.is_empty() {
            return "join_members name nobody but this member".to_owned();
        }
        format!("waiting to hear from a member: {}", waiting.join(", "))
    }

    fn contacts(&self) -> MutexGuard<'_, Contacts> {
        self.inner.gossip.wire().contacts()
    }

    /// Contacts members that this one does not know: partitions that outlast everybody's memory
    /// heal, and a member that began alone finds the others.
    async fn keep_contact(&self) -> String {
        let config = &self.inner.config;
        let mut backoff = config.min_join_backoff;
        loop {
            let alone = self.inner.liveness().others().is_empty();
            let pause = if alone {
                backoff
            } else if config.rejoin_interval.is_zero() {
                config.max_join_backoff
            } else {
                config.rejoin_interval
            };
            tokio::time::sleep(pause).await;
            backoff = if alone {
                (backoff * 2).min(config.max_join_backoff)
            } else {
                config.min_join_backoff
            };
            let resolved = self.contact_others().await;
            let is_full = |address: &SocketAddr| self.contacts().has_no_room(*address);
            let has_no_place = resolved.addresses.iter().any(is_full);
            if alone && (has_no_place || !resolved.failed.is_empty()) {
                tracing::warn!("still alone: {}", self.waiting_for(&resolved));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed check panics")]

    use kv_core::conformance::{CODEC, Counter};
    use prometheus_client::registry::Registry;
    use settings::Secret;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::engine::chitchat::snapshot::message::{Message, Word, read};
    use crate::seal::packet::Sealer;
    use crate::simulated::{Faults, SimulatedNetwork, Stranger};
    use crate::{Keyring, Memberlist, MemberlistConfig, MemberlistStore};

    const SECOND: Duration = Duration::from_secs(1);

    fn address(number: u8) -> SocketAddr {
        ([10, 0, 0, number], 7946).into()
    }

    /// With keys, whoever has them is believed to be where it says.
    const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn sealer() -> Sealer {
        let keys = Keyring::parse(&[KEY]).unwrap();
        Sealer::new(keys, String::new(), true, false)
    }

    async fn start(
        network: &SimulatedNetwork,
        number: u8,
        join: &[u8],
    ) -> (MemberlistStore<Counter>, Memberlist) {
        let config = MemberlistConfig {
            node_name: "member".to_owned(),
            join_members: join.iter().map(|at| address(*at).to_string()).collect(),
            encryption_keys: vec![Secret::new(KEY)],
            ..MemberlistConfig::default()
        };
        let mut registry = Registry::default();
        let started = network.start(address(number), config, CODEC, &mut registry);
        started.await.unwrap()
    }

    /// Answers a member, whatever it says, that there is no room.
    async fn full(mut stranger: Stranger, own: SocketAddr, member: SocketAddr) {
        let packet = sealer().seal(own, &Message::Word(Word::Full).encode());
        loop {
            for _ in stranger.heard() {
                stranger.send(own, member, &packet);
            }
            sleep(SECOND / 100).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_joiner_that_others_have_no_room_for_is_not_alone_and_tries_again() {
        let network = SimulatedNetwork::new(1, Faults::NONE);
        let full = tokio::spawn(full(network.stranger(address(1)), address(1), address(2)));
        let (_store, joiner) = start(&network, 2, &[1]).await;
        for _ in 0..30 {
            sleep(4 * SECOND).await;
            let waiting = joiner.inspector().waiting_for().unwrap();
            assert!(
                waiting.contains("its table of members is full"),
                "{waiting}"
            );
            assert!(waiting.contains("10.0.0.1:7946"), "{waiting}");
        }
        full.abort();
        let (_other_store, other) = start(&network, 1, &[]).await;
        timeout(30 * SECOND, joiner.ready()).await.unwrap();
        drop(other);
    }

    #[tokio::test(start_paused = true)]
    async fn whom_a_member_has_no_room_for_is_told_so() {
        let network = SimulatedNetwork::new(1, Faults::NONE);
        let (_store, _member) = start(&network, 1, &[]).await;
        let mut stranger = network.stranger(address(2));
        // chitchat's first message, with a digest of 65,535 members.
        let packet = sealer().seal(address(2), &[0x53, 0xb0, 0, 0, 0xff, 0xff]);
        stranger.send(address(2), address(1), &packet);
        sleep(SECOND).await;
        let heard = stranger.heard();
        assert_eq!(heard.len(), 1);
        let opened = sealer().open(&heard[0]).unwrap();
        assert_eq!(read(&opened.body), Some(Ok(Message::Word(Word::Full))));
    }
}
