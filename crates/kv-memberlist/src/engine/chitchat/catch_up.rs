//! Catching up: a member is ready when it holds what the others hold.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kv_core::lock;
use rand::seq::IteratorRandom;
use tokio::time::Instant;

use super::gossip::{Gossip, Missing};
use super::liveness::Liveness;
use super::snapshot::message::Message;
use super::snapshot::receiving::{Failure, Next};
use super::wire::Wire;
use crate::engine::CatchUp;
use crate::status::MemberState;

/// Rounds of gossip after which members that all have just started agree that there is nothing to
/// catch up with.
const NOTHING_THERE_ROUNDS: u32 = 5;

/// Time between two looks at what the others hold.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How long a member has to answer before another one is asked.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Time between two attempts to contact members that were not heard.
const CONTACT_INTERVAL: Duration = Duration::from_secs(1);

/// Time between two lines in the log.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// How long a joiner waits to hear from the members that it expects, if none that it heard is active.
const EXPECTED_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a member that had been ready answers nothing.
const AFTER_STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// After a stall, a member that was asked is not waited for any more when nothing was heard from it
/// for so long, and for so many rounds. A slow one that runs says something in each round.
const SILENT_AFTER: Duration = Duration::from_secs(2);
const SILENT_AFTER_ROUNDS: u32 = 5;

/// Changes that a member lacks from which on it asks for a snapshot: about as many as one message of
/// chitchat brings.
const MUCH: u64 = 1_000;

/// How long a member is not asked for a snapshot after it has given one, and again would give the
/// same; after it has refused, as it was catching up itself; and after it has not answered, as
/// members of earlier versions do not.
const SPARED_AFTER_SNAPSHOT: Duration = Duration::from_secs(5);
const SPARED_AFTER_REFUSAL: Duration = Duration::from_secs(2);
const SPARED_AFTER_SILENCE: Duration = Duration::from_secs(30);

/// What catching up works with.
pub(super) struct Parts<'a> {
    pub(super) gossip: &'a Gossip,
    pub(super) wire: &'a Wire,
    pub(super) liveness: &'a Mutex<Liveness>,
    /// How often this process did not run for a while.
    pub(super) stalls: &'a AtomicU64,
}

struct Session<'a> {
    parts: Parts<'a>,
    why: CatchUp<'a>,
    began: Instant,
    stalls_seen: u64,
    asked: Option<Asked>,
    /// Who was asked since this began, and when first.
    first_asked: HashMap<SocketAddr, Instant>,
    /// Who is not to be asked for a snapshot, until when.
    spared: HashMap<SocketAddr, Instant>,
}

/// What was asked of a member, that has not answered yet.
struct Asked {
    member: SocketAddr,
    at: Instant,
    /// How often it had answered before.
    answers: u64,
}

/// A member that holds more than this one.
#[derive(Clone)]
struct Ahead {
    member: SocketAddr,
    missing: Missing,
}

/// What the others hold, at one look.
struct Survey {
    /// Others that speak.
    others: Vec<SocketAddr>,
    /// Those of them that take part.
    active: Vec<SocketAddr>,
    /// Those of these whose digest is here.
    counted: usize,
    ahead: Vec<Ahead>,
}

/// Returns when this member holds what the active ones held once they were known to be active, and
/// what the others hold; or when it is clear that no member has anything.
pub(super) async fn catch_up(
    parts: Parts<'_>,
    why: CatchUp<'_>,
    progress: &(dyn Fn(String) + Send + Sync),
) {
    let wire = parts.wire;
    let began = Instant::now();
    let mut session = Session {
        stalls_seen: parts.stalls.load(Ordering::Relaxed),
        parts,
        why,
        began,
        asked: None,
        first_asked: HashMap::new(),
        spared: HashMap::new(),
    };
    if matches!(why, CatchUp::AfterStall) {
        session.begin_again().await;
    }
    let (mut contacted, mut logged) = (began, began);
    loop {
        session.begin_again_if_stalled().await;
        let survey = session.survey().await;
        if session.is_done(&survey) {
            break;
        }
        let received = wire.receiving().progress();
        let text = survey.describe(received.as_deref());
        if logged.elapsed() >= LOG_INTERVAL {
            logged = Instant::now();
            let took_ms = crate::clock::millis(began.elapsed());
            if received.is_some() {
                tracing::info!(took_ms, "{text}");
            } else {
                tracing::warn!(took_ms, "still {text}");
            }
        }
        progress(text);
        if contacted.elapsed() >= CONTACT_INTERVAL {
            contacted = Instant::now();
            session.contact_unheard();
        }
        session.ask(survey);
        tokio::select! {
            () = tokio::time::sleep(POLL_INTERVAL) => {}
            () = wire.receiving().wants_more() => {}
        }
    }
    wire.contacts().caught_up();
}

impl Survey {
    fn describe(&self, received: Option<&str>) -> String {
        match received {
            Some(received) => format!("catching up: {received}"),
            None => format!(
                "catching up: {} of {} members that were heard are active, {} know more",
                self.active.len(),
                self.others.len(),
                self.ahead.len()
            ),
        }
    }
}

impl Session<'_> {
    async fn begin_again_if_stalled(&mut self) {
        let stalls = self.parts.stalls.load(Ordering::Relaxed);
        if stalls != self.stalls_seen {
            self.stalls_seen = stalls;
            self.begin_again().await;
        }
    }

    /// What others said before does not count: digests that wait in a buffer since then do not know
    /// of what has happened meanwhile.
    async fn begin_again(&mut self) {
        self.began = Instant::now();
        self.first_asked.clear();
        let version = self.parts.gossip.mark().await;
        self.parts.wire.contacts().begin_again(version);
    }

    async fn survey(&self) -> Survey {
        let members = lock(self.parts.liveness).members();
        let others: Vec<_> = members
            .others()
            .filter(|member| !self.is_gone(member.id.address))
            .collect();
        let active = others
            .iter()
            .filter(|member| member.state == MemberState::Active);
        let active: Vec<SocketAddr> = active.map(|member| member.id.address).collect();
        let others: Vec<SocketAddr> = others.iter().map(|member| member.id.address).collect();
        let mut digests = self.parts.wire.contacts().digests(&active);
        // What a member knew that is gone, none may be able to tell.
        digests.retain(|digest| others.contains(&digest.from));
        let counted = digests
            .iter()
            .filter(|digest| active.contains(&digest.from))
            .count();
        let mut ahead = Vec::new();
        for digest in &digests {
            if let Some(missing) = self.parts.gossip.missing(digest).await {
                let member = digest.from;
                ahead.push(Ahead { member, missing });
            }
        }
        Survey {
            others,
            active,
            counted,
            ahead,
        }
    }

    /// Whether a member that was alive when this one stalled has gone since, though it is not yet
    /// known to be dead: nothing listens at its address any more, or it was asked, and nothing was
    /// heard from it for longer than a slow member is silent. A joiner does not judge so: it may
    /// lack everything, and waits until the member is dead.
    fn is_gone(&self, member: SocketAddr) -> bool {
        if !matches!(self.why, CatchUp::AfterStall) {
            return false;
        }
        let last_heard = self.parts.wire.contacts().last_heard(member);
        let heard_since = |time: Instant| last_heard.is_some_and(|heard| heard > time);
        let refuses = || {
            let error = self.parts.wire.last_error(member);
            error.is_some_and(|error| {
                error.is_refusal && error.at >= self.began && !heard_since(error.at)
            })
        };
        let silence = SILENT_AFTER.max(self.parts.gossip.interval() * SILENT_AFTER_ROUNDS);
        let is_silent = || {
            let asked = self.first_asked.get(&member);
            asked.is_some_and(|asked| asked.elapsed() >= silence)
                && last_heard.is_none_or(|heard| heard.elapsed() >= silence)
        };
        refuses() || is_silent()
    }

    fn is_done(&self, survey: &Survey) -> bool {
        let is_after_stall = matches!(self.why, CatchUp::AfterStall);
        if is_after_stall && self.began.elapsed() >= AFTER_STALL_TIMEOUT {
            tracing::warn!("catching up takes too long: going on with what is there");
            return true;
        }
        if !survey.ahead.is_empty() {
            return false;
        }
        if !survey.active.is_empty() {
            return survey.counted > 0;
        }
        let settled = self.parts.gossip.interval() * NOTHING_THERE_ROUNDS;
        self.began.elapsed() >= settled
            && (self.unheard().is_empty() || self.began.elapsed() >= EXPECTED_TIMEOUT)
    }

    /// Goes on with a snapshot that is being received, begins one if much is missing, or exchanges
    /// what there is with another member, which is faster than to wait for the next round.
    fn ask(&mut self, survey: Survey) {
        let wire = self.parts.wire;
        let gone = wire.receiving().give_up_if(|member| self.is_gone(member));
        if let Some(member) = gone {
            self.spare(member, SPARED_AFTER_SILENCE);
        }
        match wire.receiving().next() {
            Next::Wait => {}
            Next::Ask(member, ask) => {
                wire.send_over_stream(member, &Message::Ask(ask).encode());
            }
            Next::Done(member, entries) => {
                tracing::info!(%member, entries, "received a snapshot");
                // The member that made it would give the same again, and others one as new as that.
                for other in &survey.ahead {
                    self.spare(other.member, SPARED_AFTER_SNAPSHOT);
                }
                self.exchange(survey);
            }
            Next::Failed(member, failure) => {
                let time = match failure {
                    Failure::Refused => SPARED_AFTER_REFUSAL,
                    Failure::Silent => SPARED_AFTER_SILENCE,
                };
                self.spare(member, time);
            }
            Next::Nothing => match self.choose(&survey) {
                Some(Ahead { member, missing }) => {
                    wire.receiving().begin(member, missing.maps);
                    self.ask_for_first_part();
                }
                None => self.exchange(survey),
            },
        }
    }

    fn spare(&mut self, member: SocketAddr, time: Duration) {
        self.spared.insert(member, Instant::now() + time);
    }

    /// Whom to ask for a snapshot: active members first.
    fn choose(&self, survey: &Survey) -> Option<Ahead> {
        let is_spared = |member| {
            let until = self.spared.get(member);
            until.is_some_and(|until| Instant::now() < *until)
        };
        let candidates = || {
            let ahead = survey.ahead.iter();
            ahead.filter(|other| other.missing.versions >= MUCH && !is_spared(&other.member))
        };
        let mut random = rand::rng();
        let active = candidates()
            .filter(|other| survey.active.contains(&other.member))
            .choose(&mut random);
        active.or_else(|| candidates().choose(&mut random)).cloned()
    }

    fn ask_for_first_part(&self) {
        let wire = self.parts.wire;
        if let Next::Ask(member, ask) = wire.receiving().next() {
            tracing::info!(%member, "much is missing: asking for a snapshot");
            wire.send_over_stream(member, &Message::Ask(ask).encode());
        }
    }

    /// Begins an exchange, unless the last one has not been answered yet.
    fn exchange(&mut self, survey: Survey) {
        if self.waits_for_answer() {
            return;
        }
        let mut members = survey.others;
        if survey.counted > 0 {
            // A member that is active has little that is missing, or gives no snapshot.
            self.parts.wire.receiving().decide();
        }
        if !survey.ahead.is_empty() {
            members = survey.ahead.into_iter().map(|other| other.member).collect();
        }
        let last = self.asked.as_ref().map(|asked| asked.member);
        if members.len() > 1 {
            members.retain(|member| Some(*member) != last);
        }
        let Some(member) = members.into_iter().choose(&mut rand::rng()) else {
            return;
        };
        let (at, answers) = (Instant::now(), self.parts.wire.contacts().answers(member));
        self.first_asked.entry(member).or_insert(at);
        self.asked = Some(Asked {
            member,
            at,
            answers,
        });
        match self.why {
            CatchUp::Joining { .. } => self.parts.gossip.exchange(member),
            // So that it becomes known if nothing listens there any more.
            CatchUp::AfterStall => self.parts.gossip.contact(member),
        }
    }

    /// Whether a member was asked that has not answered, and still may.
    fn waits_for_answer(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| {
            asked.at.elapsed() < ANSWER_TIMEOUT
                && self.parts.wire.contacts().answers(asked.member) == asked.answers
                && !self.is_gone(asked.member)
        })
    }

    fn expected(&self) -> &[SocketAddr] {
        match self.why {
            CatchUp::Joining { expected } => expected,
            CatchUp::AfterStall => &[],
        }
    }

    /// Who should be there, was not heard, and did not refuse.
    fn unheard(&self) -> Vec<SocketAddr> {
        let contacts = self.parts.wire.contacts();
        let is_unheard = |address: &SocketAddr| {
            !contacts.has_heard(*address) && self.parts.wire.last_error(*address).is_none()
        };
        self.expected().iter().copied().filter(is_unheard).collect()
    }

    /// Also those that refused: they may have started since.
    fn contact_unheard(&self) {
        let unheard: Vec<SocketAddr> = {
            let contacts = self.parts.wire.contacts();
            let is_unheard = |address: &SocketAddr| !contacts.has_heard(*address);
            self.expected().iter().copied().filter(is_unheard).collect()
        };
        for address in unheard {
            self.parts.gossip.contact(address);
        }
    }
}
