//! Joining: finding other members, and keeping contact.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use rand::seq::IteratorRandom;
use tokio::time::Instant;

use super::auto::{Auto, Survey, Verdict};
use super::choice::Choice;
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

/// How long members of this protocol are heard out where others speak another.
const HEAR_OUT_WITHIN: Duration = Duration::from_secs(2);

/// Time between two surveys of a member that may change to another protocol, and the least one if
/// something happens.
const ASK_EVERY: Duration = Duration::from_secs(10);
const ASK_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// The problem of an address that cannot be told from one that speaks something else.
const CLOSES: &str = "closes connections without an answer: it speaks another protocol, or has \
                      another cluster_label";

/// The problem of a member whose table has no room for this one.
const NO_ROOM: &str = "its table of members is full, dead ones included: there is room again \
                       when members that are gone are removed, after left_ingesters_timeout";

/// What addresses speak that are no members of this kind of gossip, and when they said so.
#[derive(Default)]
struct Foreign(HashMap<SocketAddr, (ForeignProtocol, Instant)>);

/// Finds other members, and keeps contact.
pub(super) struct Joiner {
    readiness: Readiness,
    resolver: Resolver,
    /// `rejoin_seed_nodes`, if there are any.
    seeds: Option<Resolver>,
    config: Arc<MemberlistConfig>,
    choice: Choice,
    /// While this member may change to memberlist.
    auto: Option<Auto>,
    began: Instant,
}

/// How joining ended.
enum Found {
    /// This member is ready.
    Ready,
    /// Another protocol is to be spoken, which the member at this address speaks.
    Another(SocketAddr),
}

/// Joins, then keeps contact forever; returns only if this member must not continue, with the
/// reason.
pub(super) async fn join(mut joiner: Joiner) -> String {
    loop {
        let another = match joiner.find_the_others().await {
            Ok(Found::Ready) => joiner.keep_contact().await,
            Ok(Found::Another(member)) => member,
            Err(fatal) => return fatal,
        };
        if let Err(fatal) = joiner.change(another).await {
            return fatal;
        }
    }
}

impl Joiner {
    pub(super) fn new(
        readiness: Readiness,
        (resolver, seeds): (Resolver, Option<Resolver>),
        config: Arc<MemberlistConfig>,
        choice: Choice,
        auto: Option<Auto>,
    ) -> Self {
        Self {
            readiness,
            resolver,
            seeds,
            config,
            choice,
            auto,
            began: Instant::now(),
        }
    }

    fn engine(&self) -> &dyn Engine {
        &*self.readiness.engine
    }

    /// Changes to memberlist, which the member at this address speaks. An error is the reason why
    /// this member must not continue.
    async fn change(&mut self, because: SocketAddr) -> Result<(), String> {
        if let Some(auto) = self.auto.take() {
            let why = format!("changing to memberlist's protocol, which {because} speaks");
            self.readiness.wait_for(why);
            let changed = auto.change(because).await;
            changed.map_err(|error| {
                format!("memberlist: cannot change from chitchat to memberlist's protocol: {error}")
            })?;
        }
        self.began = Instant::now();
        Ok(())
    }

    /// Returns when this member is ready, or is to speak another protocol. An error is the reason why
    /// it must not continue.
    async fn find_the_others(&self) -> Result<Found, String> {
        let config = &self.config;
        if self.resolver.is_empty() {
            let how = "there are no other members to join";
            self.readiness.become_ready(how).await;
            return Ok(Found::Ready);
        }
        let mut backoff = config.min_join_backoff;
        let mut foreign = Foreign::default();
        for attempt in 1.. {
            let (resolved, survey) = self.contact_others(&self.resolver).await;
            let heard = self.hear_within(backoff, &resolved, &survey).await;
            let disagreement = match survey.verdict(&self.engine().members()) {
                Verdict::Change(member) => return Ok(Found::Another(member)),
                Verdict::Disagree(text) => Some(text),
                Verdict::Keep => None,
            };
            self.choice.note_disagreement(disagreement.clone());
            if heard && disagreement.is_none() {
                self.reach_enough(backoff).await?;
                let expected = &resolved.addresses;
                self.readiness.catch_up(CatchUp::Joining { expected }).await;
                return Ok(Found::Ready);
            }
            self.identify(&resolved, &survey, &mut foreign).await;
            let disagrees = disagreement.is_some();
            let waiting = disagreement.unwrap_or_else(|| self.waiting_for(&resolved, &foreign));
            let no_other_named = resolved.addresses.is_empty() && resolved.failed.is_empty();
            let insists = config.abort_if_cluster_join_fails && !no_other_named;
            if !disagrees && !insists && self.is_alone(&resolved, &foreign, attempt) {
                tracing::warn!(
                    "no other member was found, going on alone and trying again: {waiting}"
                );
                self.readiness.become_ready("alone").await;
                return Ok(Found::Ready);
            }
            let is_last = config.max_join_retries != 0 && attempt >= config.max_join_retries;
            let fast = config.abort_if_cluster_fast_join_fails && !no_other_named;
            if fast || (insists && is_last) {
                return Err(format!(
                    "memberlist: could not join within {attempt} attempts: {waiting}"
                ));
            }
            match foreign.0.is_empty() && !disagrees {
                true => tracing::info!(attempt, "joining: {waiting}"),
                false => tracing::warn!(attempt, "joining: {waiting}"),
            }
            self.readiness.wait_for(waiting);
            if disagrees {
                // Others may be restarted with another setting at any time.
                tokio::time::sleep(backoff).await;
            }
            backoff = (backoff * 2).min(config.max_join_backoff);
            // What speaks another protocol is not asked all the time.
            if !self.reaches_only(&foreign, &resolved) {
                backoff = backoff.min(SILENCE_TIMEOUT / 4);
            }
        }
        Ok(Found::Ready)
    }

    /// Resolves the names and contacts the addresses that are not known as members, but for those
    /// that are found to speak another protocol, to which this member may change.
    async fn contact_others(&self, resolver: &Resolver) -> (Resolved, Survey) {
        let mut resolved = resolver.resolve().await;
        let own = self.engine().advertised();
        resolved.addresses.retain(|address| *address != own);
        let survey = match &self.auto {
            Some(_) => {
                let label = &self.config.cluster_label;
                Survey::of(self.engine(), &resolved.addresses, label).await
            }
            None => Survey::default(),
        };
        self.engine().expect(&resolved.addresses);
        let known: Vec<SocketAddr> = self.engine().members().addresses().collect();
        let unknown = resolved
            .addresses
            .iter()
            .filter(|address| !known.contains(address) && !survey.memberlist.contains(address));
        for address in unknown.sample(&mut rand::rng(), MAX_CONTACTS) {
            self.engine().contact(*address);
        }
        (resolved, survey)
    }

    /// Whether a member is heard within this time. If members of another protocol are found, hears
    /// out all that may speak this one.
    async fn hear_within(&self, time: Duration, resolved: &Resolved, survey: &Survey) -> bool {
        let engine = self.engine();
        let is_heard_out = || {
            if engine.has_heard_any() && engine.members().is_alone() {
                return false;
            }
            let addresses = resolved.addresses.iter();
            let mut contacted = addresses.filter(|it| !survey.memberlist.contains(it));
            contacted.all(|address| {
                let info = engine.contact_info(*address);
                let members = engine.members();
                let is_member = members.addresses().any(|member| member == *address);
                is_member || info.is_closed || info.last_error.is_some() || info.is_full
            })
        };
        let (time, hears_out) = match survey.memberlist.is_empty() {
            true => (time, false),
            false => (HEAR_OUT_WITHIN, true),
        };
        let heard = async {
            loop {
                let done = match hears_out {
                    true => is_heard_out(),
                    false => engine.has_heard_any(),
                };
                if done {
                    return;
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        let _late = tokio::time::timeout(time, heard).await;
        engine.has_heard_any()
    }

    /// Waits until as many members are known as must be at the start, if it is required; an error if
    /// there are not within this time.
    async fn reach_enough(&self, time: Duration) -> Result<(), String> {
        let config = &self.config;
        let least = config.abort_if_cluster_fast_join_fails_min_nodes;
        if !config.abort_if_cluster_fast_join_fails {
            return Ok(());
        }
        let known = || self.engine().members().others().count() as u64 + 1;
        let reached = async {
            while known() < least {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        let reached = tokio::time::timeout(time, reached).await;
        reached.map_err(|_| {
            format!(
                "memberlist: {} members are known after the first attempt, and \
                 memberlist.abort_if_cluster_fast_join_fails_min_nodes is {least}",
                known()
            )
        })
    }

    /// Asks those that close connections what they speak.
    async fn identify(&self, resolved: &Resolved, survey: &Survey, foreign: &mut Foreign) {
        let now = Instant::now();
        let surveyed = survey.memberlist.iter();
        let surveyed = surveyed.map(|address| (*address, (ForeignProtocol::Dskit, now)));
        foreign.0.extend(surveyed);
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
                let why = last_error.unwrap_or_else(|| match info.is_closed {
                    true => CLOSES.to_owned(),
                    false => "no answer yet".to_owned(),
                });
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
    /// have forgotten each other, and a member that started alone finds the others. Returns if
    /// another protocol is to be spoken, which the member at this address speaks.
    async fn keep_contact(&self) -> SocketAddr {
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
            self.pause(pause).await;
            backoff = if alone {
                (backoff * 2).min(config.max_join_backoff)
            } else {
                config.min_join_backoff
            };
            // A member that is alone has nothing to rejoin.
            let seeds = self.seeds.as_ref().filter(|_| !alone);
            let resolver = seeds.unwrap_or(&self.resolver);
            let (resolved, survey) = self.contact_others(resolver).await;
            let disagreement = match survey.verdict(&self.engine().members()) {
                Verdict::Change(member) => return member,
                Verdict::Disagree(text) => Some(text),
                Verdict::Keep => None,
            };
            let disagrees = disagreement.clone();
            if self.choice.note_disagreement(disagreement)
                && let Some(text) = disagrees
            {
                tracing::warn!("{text}");
            }
            if !alone {
                continue;
            }
            self.identify(&resolved, &survey, &mut foreign).await;
            let is_full = |address: &SocketAddr| self.engine().contact_info(*address).is_full;
            let has_no_room = resolved.addresses.iter().any(is_full);
            if has_no_room || !resolved.failed.is_empty() || !foreign.0.is_empty() {
                let waiting = self.waiting_for(&resolved, &foreign);
                tracing::warn!("still alone: {waiting}");
            }
        }
    }

    /// Waits for this time; a member that may change to another protocol at most until it is time to
    /// ask again who speaks that.
    async fn pause(&self, time: Duration) {
        let Some(auto) = &self.auto else {
            return tokio::time::sleep(time).await;
        };
        let (began, alive) = (Instant::now(), self.engine().members().alive());
        let noticed = async {
            tokio::time::sleep(ASK_AT_MOST_EVERY).await;
            while !auto.notices(began, alive) {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        let _late = tokio::time::timeout(time.min(ASK_EVERY), noticed).await;
    }
}
