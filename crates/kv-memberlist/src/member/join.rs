//! Joining: finding other members, and keeping contact.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use rand::seq::IteratorRandom;
use tokio::time::Instant;

use super::readiness::Readiness;
use super::resolve::{Resolved, Resolver};
use crate::config::MemberlistConfig;
use crate::engine::{CatchUp, Engine};
use crate::link::foreign::ForeignProtocol;

/// Attempts after which a member whose connections were all refused assumes that it is the only
/// one.
const REFUSED_ATTEMPTS: u64 = 3;

/// How long unanswered attempts go on before a member assumes that it is the only one.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(10);

/// Addresses that one attempt contacts at most.
const MAX_CONTACTS: usize = 16;

/// Addresses, and names, that a message lists at most.
const MAX_TOLD: usize = 5;

/// How long it is taken for known what listens at an address that speaks another protocol.
const IDENTIFIED_FOR: Duration = Duration::from_secs(60);

/// Time between two checks whether any member has answered.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The problem of a member whose table has no room for this one.
const NO_ROOM: &str = "its table of members is full, dead ones included: there is room again \
                       when members that are gone are removed, after left_ingesters_timeout";

/// What addresses speak that are no members of this kind of gossip, and when they said so.
#[derive(Default)]
struct Foreign(HashMap<SocketAddr, (ForeignProtocol, Instant)>);

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
        let mut foreign = Foreign::default();
        for attempt in 1.. {
            let resolved = self.contact_others().await;
            if self.hear_within(backoff).await {
                let expected = &resolved.addresses;
                self.readiness.catch_up(CatchUp::Joining { expected }).await;
                return Ok(());
            }
            self.identify(&resolved, &mut foreign).await;
            let waiting = self.waiting_for(&resolved, &foreign);
            let no_other_named = resolved.addresses.is_empty() && resolved.failed.is_empty();
            let insists = config.abort_if_cluster_join_fails && !no_other_named;
            if self.is_alone(&resolved, &foreign, attempt) && !insists {
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
            match foreign.0.is_empty() {
                true => tracing::info!(attempt, "joining: {waiting}"),
                false => tracing::warn!(attempt, "joining: {waiting}"),
            }
            self.readiness.wait_for(waiting);
            backoff = (backoff * 2).min(config.max_join_backoff);
            // What speaks another protocol is not asked all the time.
            if !self.reaches_only(&foreign, &resolved) {
                backoff = backoff.min(SILENCE_TIMEOUT / 4);
            }
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

    /// Asks those that close connections what they speak.
    async fn identify(&self, resolved: &Resolved, foreign: &mut Foreign) {
        let now = Instant::now();
        foreign.0.retain(|address, (_, at)| {
            resolved.addresses.contains(address) && now.duration_since(*at) < IDENTIFIED_FOR
        });
        let unknown = resolved.addresses.iter().copied();
        let unknown = unknown.filter(|address| !foreign.0.contains_key(address));
        let label = &self.config.cluster_label;
        let asked = unknown.take(MAX_CONTACTS).map(|address| async move {
            let protocol = self.engine().identify(address, label).await;
            protocol.map(|protocol| (address, (protocol, now)))
        });
        foreign
            .0
            .extend(join_all(asked).await.into_iter().flatten());
    }

    /// Whether all addresses that can be reached, and there are some, speak another protocol. Then a
    /// wrong address or port is likelier than that no other distributor runs.
    fn reaches_only(&self, foreign: &Foreign, resolved: &Resolved) -> bool {
        let is_foreign = |address: &SocketAddr| foreign.0.contains_key(address);
        let fails = |address: &SocketAddr| {
            let info = self.engine().contact_info(*address);
            info.last_error.is_some() && !info.is_full
        };
        let mut addresses = resolved.addresses.iter();
        !foreign.0.is_empty() && addresses.all(|address| is_foreign(address) || fails(address))
    }

    /// Whether this member can assume that there is no other one.
    fn is_alone(&self, resolved: &Resolved, foreign: &Foreign, attempt: u64) -> bool {
        if self.reaches_only(foreign, resolved) {
            return false;
        }
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

    fn waiting_for(&self, resolved: &Resolved, foreign: &Foreign) -> String {
        let mut waiting: Vec<String> = resolved
            .addresses
            .iter()
            .take(MAX_TOLD)
            .map(|address| {
                if let Some((protocol, _)) = foreign.0.get(address) {
                    return format!("{address} (speaks {protocol})");
                }
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
        let waiting = waiting.join(", ");
        if self.reaches_only(foreign, resolved) {
            return format!(
                "memberlist.join_members name no distributor that can be reached, but members of \
                 another protocol: {waiting}; name the distributors, which gossip on a port of \
                 their own, or leave it empty for a single distributor. To be a member of Mimir's \
                 ring, set memberlist.protocol: memberlist"
            );
        }
        format!("waiting to hear from a member: {waiting}")
    }

    /// Contacts addresses that are not known as members, so that partitions heal even if both sides
    /// have forgotten each other, and a member that started alone finds the others.
    async fn keep_contact(&self) -> String {
        let config = &self.config;
        let mut backoff = config.min_join_backoff;
        let mut foreign = Foreign::default();
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
            if !alone {
                continue;
            }
            self.identify(&resolved, &mut foreign).await;
            let is_full = |address: &SocketAddr| self.engine().contact_info(*address).is_full;
            let has_no_room = resolved.addresses.iter().any(is_full);
            if has_no_room || !resolved.failed.is_empty() || !foreign.0.is_empty() {
                let waiting = self.waiting_for(&resolved, &foreign);
                tracing::warn!("still alone: {waiting}");
            }
        }
    }
}
