//! `protocol: auto`: a member begins with chitchat, and changes to memberlist when a member that
//! `join_members` names speaks that.
//!
//! It changes only if every other member that speaks chitchat would change as well, because each was
//! left the choice: they then all meet the same member, or those that have changed, and follow. If one
//! was not left the choice, the members disagree; the member says so and does not change. Nothing
//! depends on when which member starts: memberlist, once spoken, draws all that may change.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use kv_core::Tasks;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::choice::Choice;
use super::error::StartError;
use super::handle::TASK;
use crate::config::{MemberlistConfig, Protocol};
use crate::engine::changing::Changing;
use crate::engine::memberlist::{self, Sockets, Surroundings};
use crate::engine::{Engine, EntrySink, Members};
use crate::link::foreign::{Answered, ForeignProtocol};
use crate::metrics::Metrics;
use crate::status::{Chosen, MemberState, ProtocolInUse};

/// Addresses that are asked at the same time, at most.
const MAX_ASKED: usize = 64;

/// Members, and addresses, that a message names at most.
const MAX_NAMED: usize = 5;

/// How long the members of chitchat that are left may take to learn so.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// How long the port that the engine before has listened on may take to become free.
const PORT_FREE_WITHIN: Duration = Duration::from_secs(5);

/// Time between two attempts to listen on it.
const BIND_PAUSE: Duration = Duration::from_millis(20);

/// What a member needs to change from chitchat to memberlist.
pub(super) struct Auto {
    pub(super) engine: Arc<Changing>,
    pub(super) tasks: EngineTasks,
    pub(super) choice: Choice,
    pub(super) config: Arc<MemberlistConfig>,
    pub(super) name: String,
    /// What it listens on.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) port: u16,
    pub(super) advertised: SocketAddr,
    /// Of the values.
    pub(super) codec: &'static str,
    pub(super) sink: Arc<dyn EntrySink>,
    pub(super) metrics: Metrics,
}

/// What speaks which protocol among the addresses that `join_members` resolves to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    pub(super) memberlist: Vec<SocketAddr>,
    /// Distributors that speak chitchat and would not change.
    pub(super) fixed: Vec<SocketAddr>,
}

/// What follows from it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    /// Change to memberlist, because of this member.
    Change(SocketAddr),
    /// The members disagree: who speaks what, and what to do.
    Disagree(String),
}

impl Survey {
    /// Asks these addresses what they speak.
    pub(super) async fn of(engine: &dyn Engine, addresses: &[SocketAddr], label: &str) -> Self {
        let known: Vec<SocketAddr> = engine.members().addresses().collect();
        let unknown = addresses.iter().filter(|address| !known.contains(address));
        let asked = unknown.copied().sample(&mut rand::rng(), MAX_ASKED);
        let answers = join_all(
            asked
                .into_iter()
                .map(|address| async move { (address, engine.ask(address, label).await) }),
        );
        let mut survey = Self::default();
        for (address, answer) in answers.await {
            match answer {
                Some(Answered::Memberlist) => survey.memberlist.push(address),
                Some(Answered::Chitchat { may_change: false }) => survey.fixed.push(address),
                Some(Answered::Chitchat { may_change: true }) | None => {}
            }
        }
        survey.memberlist.sort_unstable();
        survey.fixed.sort_unstable();
        survey
    }

    /// What follows for a member that may change; `members` are those of chitchat.
    pub(super) fn verdict(&self, members: &Members) -> Verdict {
        let Some(first) = self.memberlist.first() else {
            return Verdict::Keep;
        };
        let others = members.others().filter(|member| !member.may_change);
        let mut fixed: Vec<String> = others
            .map(|member| format!("{} ({})", member.id.name, member.id.address))
            .collect();
        let heard: Vec<SocketAddr> = members.addresses().collect();
        let unheard = self.fixed.iter().filter(|address| !heard.contains(address));
        fixed.extend(unheard.map(ToString::to_string));
        if fixed.is_empty() {
            return Verdict::Change(*first);
        }
        let memberlist = list(self.memberlist.iter().map(ToString::to_string));
        let chitchat = list(fixed.into_iter());
        Verdict::Disagree(format!(
            "the members that memberlist.join_members names speak different protocols, and this \
             distributor joins no half of them: memberlist is spoken by {memberlist}, and chitchat, \
             by its configuration or an older version, by {chitchat}. Set memberlist.protocol: \
             memberlist on all distributors, or take the first out of memberlist.join_members"
        ))
    }
}

fn list(named: impl Iterator<Item = String>) -> String {
    let mut named: Vec<String> = named.collect();
    let more = named.len().saturating_sub(MAX_NAMED);
    named.truncate(MAX_NAMED);
    if more > 0 {
        named.push(format!("{more} more"));
    }
    named.join(", ")
}

impl Auto {
    /// Leaves the members that speak chitchat, and begins to speak memberlist, because of the member
    /// at this address.
    ///
    /// # Errors
    /// Memberlist's engine does not start: this member must not continue.
    pub(super) async fn change(self, because: SocketAddr) -> Result<(), StartError> {
        let engine = Arc::clone(&self.engine);
        if engine.own_state() >= MemberState::Leaving {
            // It does not come back.
            return std::future::pending().await;
        }
        let protocol = ProtocolInUse {
            protocol: Protocol::Memberlist,
            chosen: Chosen::Answered(because),
        };
        tracing::info!(
            name = %self.name,
            member = %because,
            "a member speaks memberlist's protocol: changing to it from chitchat"
        );
        engine.change(|before| self.replace(before, protocol)).await
    }

    async fn replace(
        self,
        before: Arc<dyn Engine>,
        protocol: ProtocolInUse,
    ) -> Result<Arc<dyn Engine>, StartError> {
        before.announce(MemberState::Left).await;
        let _told = timeout(TOLD_WITHIN, before.announced()).await;
        drop(before);
        self.tasks.stop().await;
        let surroundings = Surroundings {
            name: self.name,
            advertised: self.advertised,
            sockets: bind_again(&self.addresses, self.port).await?,
            rng: StdRng::from_rng(&mut rand::rng()),
            codec: self.codec,
            sink: Arc::clone(&self.sink),
            metrics: self.metrics,
            // With TLS, memberlist is spoken from the beginning.
            tls: None,
        };
        let mut tasks = Tasks::new(TASK);
        let next = memberlist::start(&self.config, surroundings, &mut tasks);
        self.tasks.run(tasks).await;
        self.sink.publish_everything();
        self.choice.set(protocol);
        Ok(next)
    }

    /// Whether something happened that makes it worth to ask again what is spoken.
    pub(super) fn notices(&self, since: Instant, alive: usize) -> bool {
        let speaks = |foreigner: crate::link::foreign::Foreigner| {
            foreigner.protocol == ForeignProtocol::Dskit && foreigner.at > since
        };
        self.engine.last_foreigner().is_some_and(speaks) || self.engine.members().alive() < alive
    }
}

/// Listens on what the engine before has listened on, as soon as its sockets are closed.
async fn bind_again(addresses: &[IpAddr], port: u16) -> Result<Sockets, StartError> {
    let began = Instant::now();
    loop {
        match memberlist::bind(addresses, port).await {
            Ok(sockets) => return Ok(sockets),
            Err(error) if began.elapsed() >= PORT_FREE_WITHIN => {
                return Err(StartError::Bind(error));
            }
            Err(_) => sleep(BIND_PAUSE).await,
        }
    }
}

/// Changes which tasks [`run_engine`] runs.
pub(super) struct EngineTasks(mpsc::Sender<(Tasks, oneshot::Sender<()>)>);

impl EngineTasks {
    pub(super) fn new() -> (Self, mpsc::Receiver<(Tasks, oneshot::Sender<()>)>) {
        let (next, receiver) = mpsc::channel(1);
        (Self(next), receiver)
    }

    /// Waits until the tasks have stopped.
    async fn stop(&self) {
        self.run(Tasks::new(TASK)).await;
    }

    /// Has these run instead, and waits until those before have stopped.
    async fn run(&self, tasks: Tasks) {
        let (done, stopped) = oneshot::channel();
        if self.0.send((tasks, done)).await.is_ok() {
            let _ended = stopped.await;
        }
    }
}

/// Runs the tasks of the engine that is in use. Returns if one fails, with the reason.
pub(super) async fn run_engine(
    mut tasks: Tasks,
    mut next: mpsc::Receiver<(Tasks, oneshot::Sender<()>)>,
) -> String {
    loop {
        tokio::select! {
            failed = tasks.failed() => return failed.to_string(),
            Some((changed, done)) = next.recv() => {
                std::mem::replace(&mut tasks, changed).abort().await;
                let _ended = done.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{MemberId, MemberRecord};

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn member(name: &str, port: u16, may_change: bool) -> MemberRecord {
        MemberRecord {
            id: MemberId {
                name: name.into(),
                run: 1,
                address: address(port),
            },
            state: MemberState::Active,
            is_alive: true,
            heartbeat_age: Duration::ZERO,
            may_change,
            is_self: name == "self",
        }
    }

    fn verdict(memberlist: &[u16], fixed: &[u16], members: Vec<MemberRecord>) -> Verdict {
        let all = |ports: &[u16]| ports.iter().copied().map(address).collect();
        let survey = Survey {
            memberlist: all(memberlist),
            fixed: all(fixed),
        };
        survey.verdict(&Members(members))
    }

    #[test]
    fn memberlist_draws_those_that_may_change() {
        let own = || member("self", 1, true);
        assert_eq!(verdict(&[], &[2], vec![own()]), Verdict::Keep);
        assert_eq!(
            verdict(&[3, 4], &[], vec![own(), member("a", 2, true)]),
            Verdict::Change(address(3))
        );
    }

    #[test]
    fn no_half_is_joined() {
        let own = || member("self", 1, true);
        let dead = MemberRecord {
            is_alive: false,
            ..member("dead", 5, false)
        };
        let heard = vec![own(), member("a", 2, false), member("b", 6, true), dead];
        for (fixed, members, named) in [
            (&[2][..], heard, "by a (10.0.0.1:2). Set"),
            (&[7], vec![own()], "by 10.0.0.1:7. Set"),
        ] {
            let Verdict::Disagree(text) = verdict(&[3], fixed, members) else {
                panic!("no disagreement");
            };
            for part in [
                "spoken by 10.0.0.1:3",
                named,
                "memberlist.protocol: memberlist",
            ] {
                assert!(text.contains(part), "{text}");
            }
        }
    }

    #[test]
    fn few_members_are_named() {
        let named = list((0..8).map(|number| format!("m{number}")));
        assert_eq!(named, "m0, m1, m2, m3, m4, 3 more");
    }
}
