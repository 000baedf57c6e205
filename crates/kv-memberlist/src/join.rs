//! Joining: finding the others, and holding what they hold before this member is ready.

use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use kv_core::Mergeable;
use rand::seq::IteratorRandom;
use tokio::time::Instant;

use crate::MemberState;
use crate::gossip::{Contacts, PeerId};
use crate::member::Inner;
use crate::resolve::{Resolved, Resolver};
use crate::store::Phase;

/// Attempts after which a member that everybody refused holds itself for alone.
const REFUSALS: u32 = 3;

/// How long unanswered attempts go on before a member holds itself for alone.
const SILENCE: Duration = Duration::from_secs(10);

/// Addresses that one attempt contacts.
const CONTACTS: usize = 16;

/// Time between two looks while catching up.
const LOOK: Duration = Duration::from_millis(50);

/// How long catching up may take: a member that died meanwhile can take what it had told of with it.
const CATCH_UP: Duration = Duration::from_secs(30);

/// Rounds of gossip after which members that all have just started agree that there is nothing to
/// catch up with.
const NOTHING_TO_CATCH_UP: u32 = 5;

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
                self.catch_up().await;
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
    fn is_alone(&self, resolved: &Resolved, attempt: u32) -> bool {
        let refused = resolved
            .addresses
            .iter()
            .all(|address| self.inner.gossip.wire().trouble(*address).is_some());
        (refused && attempt >= REFUSALS) || self.began.elapsed() >= SILENCE
    }

    fn waiting_for(&self, resolved: &Resolved) -> String {
        let wire = self.inner.gossip.wire();
        let mut waiting: Vec<String> = resolved
            .addresses
            .iter()
            .take(5)
            .map(|address| match wire.trouble(*address) {
                Some(trouble) => format!("{address} ({trouble})"),
                None => format!("{address} (no answer yet)"),
            })
            .collect();
        let more = resolved.addresses.len().saturating_sub(5);
        if more > 0 {
            waiting.push(format!("{more} more"));
        }
        waiting.extend(resolved.failed.iter().take(5).cloned());
        if waiting.is_empty() {
            return "memberlist.join_members name nobody but this member".to_owned();
        }
        format!("waiting to hear from a member: {}", waiting.join(", "))
    }

    /// Waits until this member holds what an active one held after it was known to be active; or
    /// until it is clear that all have just started.
    async fn catch_up(&self) {
        let began = Instant::now();
        loop {
            let (active, others) = self.active_and_others();
            let (counted, early): (Vec<_>, Vec<_>) = self
                .contacts()
                .first_digests()
                .into_iter()
                .partition(|(address, _)| active.contains(address));
            // What a member held before it was active says nothing of what the cluster holds.
            self.contacts()
                .forget_digests(early.iter().map(|(address, _)| *address));
            let mut behind = Vec::new();
            for (address, digest) in &counted {
                if !self.inner.gossip.has_all_of(digest).await {
                    behind.push(*address);
                }
            }
            if self.is_caught_up(began, &active, counted.len(), behind.len()) {
                self.contacts().caught_up();
                self.inner.become_ready("joined").await;
                tracing::info!(took = ?began.elapsed(), "this member holds what its cluster holds");
                return;
            }
            self.inner.set_phase(Phase::Joining(format!(
                "catching up: {} of {} members that were heard are active, {} of them know more",
                counted.len(),
                others.len(),
                behind.len()
            )));
            // Faster than by waiting for the next round.
            let ask = if behind.is_empty() { others } else { behind };
            if let Some(address) = ask.into_iter().choose(&mut rand::rng()) {
                self.inner.gossip.exchange(address);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Catches up again after this process did not run for a while: a failover decided on what it
    /// knew before would be none.
    async fn recover(&self) {
        if self.inner.says() != MemberState::Active {
            return;
        }
        if !self.inner.liveness().others().is_empty() {
            // Digests that wait in a buffer since before do not know of this change.
            self.inner.say(MemberState::Joining).await;
            let (_, version) = self.inner.gossip.own_version().await;
            self.contacts().begin_again(version);
            self.catch_up().await;
        } else {
            self.inner.become_ready("nobody else is there").await;
        }
    }

    fn is_caught_up(
        &self,
        began: Instant,
        active: &[SocketAddr],
        counted: usize,
        behind: usize,
    ) -> bool {
        let settled = began.elapsed() >= self.inner.config.gossip_interval * NOTHING_TO_CATCH_UP;
        if began.elapsed() >= CATCH_UP {
            tracing::warn!("catching up takes too long: going on with what is there");
            return true;
        }
        (counted > 0 && behind == 0) || (active.is_empty() && settled)
    }

    /// Addresses of the others that are active, and of all others.
    fn active_and_others(&self) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        let others = self.inner.liveness().others();
        let address = |(id, _): &(PeerId, MemberState)| id.gossip_advertise_addr;
        let active = others
            .iter()
            .filter(|(_, state)| *state == MemberState::Active);
        (
            active.map(address).collect(),
            others.iter().map(address).collect(),
        )
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
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.inner.held_up.notified() => self.recover().await,
            }
            backoff = if alone {
                (backoff * 2).min(config.max_join_backoff)
            } else {
                config.min_join_backoff
            };
            let resolved = self.contact_others().await;
            if alone && !resolved.failed.is_empty() {
                tracing::warn!("still alone: {}", self.waiting_for(&resolved));
            }
        }
    }
}
