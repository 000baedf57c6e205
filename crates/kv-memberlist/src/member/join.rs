//! Joining: finding other members, and keeping contact.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::seq::IteratorRandom;
use tokio::time::Instant;

use super::readiness::Readiness;
use super::resolve::{Resolved, Resolver};
use crate::config::MemberlistConfig;
use crate::engine::{CatchUp, Engine};

/// Attempts after which a member whose connections were all refused assumes that it is the only
/// one.
const REFUSED_ATTEMPTS: u64 = 3;

/// How long unanswered attempts go on before a member assumes that it is the only one.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(10);

/// Addresses that one attempt contacts at most.
const MAX_CONTACTS: usize = 16;

/// Addresses, and names, that a message lists at most.
const MAX_TOLD: usize = 5;

/// Time between two checks whether any member has answered.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The problem of a member whose table has no room for this one.
const NO_ROOM: &str = "its table of members is full, dead ones included: there is room again \
                       when members that are gone are removed, after left_ingesters_timeout";

struct Joiner {
    readiness: Readiness,
    resolver: Resolver,
    config: Arc<MemberlistConfig>,
    began: Instant,
}

/// Joins, then keeps contact forever; returns only if this member must not continue, with the
/// reason.
pub(super) async fn join(
    readiness: Readiness,
    resolver: Resolver,
    config: Arc<MemberlistConfig>,
) -> String {
    let joiner = Joiner {
        readiness,
        resolver,
        config,
        began: Instant::now(),
    };
    if let Err(fatal) = joiner.find_the_others().await {
        return fatal;
    }
    joiner.keep_contact().await
}

impl Joiner {
    fn engine(&self) -> &dyn Engine {
        &*self.readiness.engine
    }

    /// Returns when this member is ready.
    async fn find_the_others(&self) -> Result<(), String> {
        let config = &self.config;
        if self.resolver.is_empty() {
            let how = "there are no other members to join";
            self.readiness.become_ready(how).await;
            return Ok(());
        }
        let mut backoff = config.min_join_backoff;
        for attempt in 1.. {
            let resolved = self.contact_others().await;
            if self.hear_within(backoff).await {
                let expected = &resolved.addresses;
                self.readiness.catch_up(CatchUp::Joining { expected }).await;
                return Ok(());
            }
            let waiting = self.waiting_for(&resolved);
            let no_other_named = resolved.addresses.is_empty() && resolved.failed.is_empty();
            let insists = config.abort_if_cluster_join_fails && !no_other_named;
            if self.is_alone(&resolved, attempt) && !insists {
                tracing::warn!(
                    "no other member was found, going on alone and trying again: {waiting}"
                );
                self.readiness.become_ready("alone").await;
                return Ok(());
            }
            let is_last = config.max_join_retries != 0 && attempt >= config.max_join_retries;
            let fast = config.abort_if_cluster_fast_join_fails && !no_other_named;
            if fast || (insists && is_last) {
                return Err(format!(
                    "memberlist: could not join within {attempt} attempts: {waiting}"
                ));
            }
            tracing::info!(attempt, "joining: {waiting}");
            self.readiness.wait_for(waiting);
            backoff = (backoff * 2)
                .min(config.max_join_backoff)
                .min(SILENCE_TIMEOUT / 4);
        }
        Ok(())
    }

    /// Resolves the names and contacts the addresses that are not known as members.
    async fn contact_others(&self) -> Resolved {
        let mut resolved = self.resolver.resolve().await;
        let own = self.engine().advertised();
        resolved.addresses.retain(|address| *address != own);
        self.engine().expect(&resolved.addresses);
        let known: Vec<SocketAddr> = self.engine().members().addresses().collect();
        let unknown = resolved
            .addresses
            .iter()
            .filter(|address| !known.contains(address));
        for address in unknown.sample(&mut rand::rng(), MAX_CONTACTS) {
            self.engine().contact(*address);
        }
        resolved
    }

    async fn hear_within(&self, time: Duration) -> bool {
        let heard = async {
            while !self.engine().has_heard_any() {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        tokio::time::timeout(time, heard).await.is_ok()
    }

    /// Whether this member can assume that there is no other one.
    fn is_alone(&self, resolved: &Resolved, attempt: u64) -> bool {
        let info = |address: &SocketAddr| self.engine().contact_info(*address);
        let refuses = |address: &SocketAddr| info(address).last_error.is_some();
        // A name that does not resolve may belong to a cluster.
        let refused = resolved.failed.is_empty() && resolved.addresses.iter().all(refuses);
        // A member without room for this one exists, and has elections that this one does not know.
        let is_full = |address: &SocketAddr| info(address).is_full;
        let silent =
            self.began.elapsed() >= SILENCE_TIMEOUT && !resolved.addresses.iter().any(is_full);
        (refused && attempt >= REFUSED_ATTEMPTS) || silent
    }

    fn waiting_for(&self, resolved: &Resolved) -> String {
        let mut waiting: Vec<String> = resolved
            .addresses
            .iter()
            .take(MAX_TOLD)
            .map(|address| {
                let info = self.engine().contact_info(*address);
                let last_error = if info.is_full {
                    Some(NO_ROOM.to_owned())
                } else {
                    info.last_error
                };
                let why = last_error.unwrap_or_else(|| "no answer yet".to_owned());
                format!("{address} ({why})")
            })
            .collect();
        let more = resolved.addresses.len().saturating_sub(MAX_TOLD);
        if more > 0 {
            waiting.push(format!("{more} more"));
        }
        waiting.extend(resolved.failed.iter().take(MAX_TOLD).cloned());
        if waiting.is_empty() {
            return "join_members contains no other member".to_owned();
        }
        format!("waiting to hear from a member: {}", waiting.join(", "))
    }

    /// Contacts addresses that are not known as members, so that partitions heal even if both sides
    /// have forgotten each other, and a member that started alone finds the others.
    async fn keep_contact(&self) -> String {
        let config = &self.config;
        let mut backoff = config.min_join_backoff;
        loop {
            let alone = self.engine().members().is_alone();
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
            let is_full = |address: &SocketAddr| self.engine().contact_info(*address).is_full;
            let has_no_room = resolved.addresses.iter().any(is_full);
            if alone && (has_no_room || !resolved.failed.is_empty()) {
                tracing::warn!("still alone: {}", self.waiting_for(&resolved));
            }
        }
    }
}
