//! Catching up: a member is ready when it holds what the others hold.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use kv_core::Mergeable;
use rand::seq::IteratorRandom;
use tokio::time::Instant;

use crate::MemberState;
use crate::engine::chitchat::snapshot::message::Message;
use crate::engine::chitchat::snapshot::{Failure, Next};
use crate::engine::chitchat::{Contacts, Missing, PeerId};
use crate::member::Inner;
use crate::member::join::SILENCE;
use crate::store::Phase;

/// Rounds of gossip after which members that all have just started agree that there is nothing to
/// catch up with.
const NOTHING_THERE: u32 = 5;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// How long a member has to answer before another one is asked.
const ANSWER: Duration = Duration::from_secs(1);

/// Time between two attempts to contact who was not heard, and between two lines in the log.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// How long a member that had been ready answers nothing.
const BOUND: Duration = Duration::from_secs(10);

/// Changes that a member lacks from which on it asks for a snapshot: about as many as one message of
/// chitchat brings.
const MUCH: u64 = 1_000;

/// How long a member is not asked for a snapshot after it has given one, and again would give the
/// same; after it has refused, as it was catching up itself; and after it has not answered, as
/// members of earlier versions do not.
const ASK_AGAIN: Duration = Duration::from_secs(5);
const REFUSED: Duration = Duration::from_secs(2);
const SILENT: Duration = Duration::from_secs(30);

/// How long catching up may take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// As long as it takes: for a member that was never ready.
    Endless,
    /// Some seconds, for one that was.
    Bounded,
}

struct CatchUp<'a, V> {
    inner: &'a Inner<V>,
    /// Who should be heard before this member believes that nobody is active.
    expected: &'a [SocketAddr],
    patience: Patience,
    began: Instant,
    times_held_up: u64,
    asked: Option<Asked>,
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

/// What was seen at one look.
struct Seen {
    /// Others that speak.
    others: Vec<SocketAddr>,
    /// Those of them that take part.
    active: Vec<SocketAddr>,
    /// Those of these whose digest is here.
    counted: usize,
    /// Others that hold more than this member, and what.
    behind: Vec<(SocketAddr, Missing)>,
}

/// Returns when this member is ready: when it holds what the active ones held once they were known
/// to be active, and what the others hold; or when it is clear that nobody has anything.
pub(crate) async fn catch_up<V>(inner: &Inner<V>, expected: &[SocketAddr], patience: Patience)
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    let mut catch_up = CatchUp {
        inner,
        expected,
        patience,
        began: Instant::now(),
        times_held_up: inner.times_held_up.load(Ordering::Relaxed),
        asked: None,
        spared: HashMap::new(),
    };
    let began = catch_up.began;
    let (mut contacted, mut logged) = (began, began);
    let receiving = inner.gossip.wire().receiving();
    loop {
        catch_up.begin_again_if_held_up().await;
        let seen = catch_up.look().await;
        if catch_up.is_done(&seen) {
            break;
        }
        let progress = receiving.progress();
        let text = seen.describe(progress.as_deref());
        if logged.elapsed() >= AGAIN.1 {
            logged = Instant::now();
            let took_ms = crate::clock::millis(began.elapsed());
            if progress.is_some() {
                tracing::info!(took_ms, "{text}");
            } else {
                tracing::warn!(took_ms, "still {text}");
            }
        }
        inner.set_phase(Phase::Joining(text));
        if contacted.elapsed() >= AGAIN.0 {
            contacted = Instant::now();
            catch_up.contact_unheard();
        }
        catch_up.ask(seen);
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = receiving.wants_more() => {}
        }
    }
    catch_up.contacts().caught_up();
    inner.become_ready("joined").await;
    tracing::info!(
        took_ms = crate::clock::millis(began.elapsed()),
        "this member holds what its cluster holds"
    );
}

/// Catches up whenever this process did not run for a while: a failover decided on what it knew
/// before would be none.
pub(crate) async fn recover<V>(inner: Arc<Inner<V>>) -> String
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    loop {
        inner.held_up.notified().await;
        // One that still joins catches up anyway, and one that leaves need not.
        if inner.says() != MemberState::Active {
            continue;
        }
        if inner.liveness().others().is_empty() {
            inner.become_ready("nobody else is there").await;
            continue;
        }
        // Digests that wait in a buffer since before do not know of this.
        let version = inner.gossip.mark().await;
        inner.gossip.wire().contacts().begin_again(version);
        catch_up(&inner, &[], Patience::Bounded).await;
    }
}

impl Seen {
    fn describe(&self, progress: Option<&str>) -> String {
        match progress {
            Some(progress) => format!("catching up: {progress}"),
            None => format!(
                "catching up: {} of {} members that were heard are active, {} know more",
                self.active.len(),
                self.others.len(),
                self.behind.len()
            ),
        }
    }
}

impl<V> CatchUp<'_, V>
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    fn contacts(&self) -> MutexGuard<'_, Contacts> {
        self.inner.gossip.wire().contacts()
    }

    async fn begin_again_if_held_up(&mut self) {
        let times = self.inner.times_held_up.load(Ordering::Relaxed);
        if times != self.times_held_up {
            self.times_held_up = times;
            self.began = Instant::now();
            let version = self.inner.gossip.mark().await;
            self.contacts().begin_again(version);
        }
    }

    async fn look(&self) -> Seen {
        let others = self.inner.liveness().others();
        let address = |(id, _): &(PeerId, MemberState)| id.gossip_advertise_addr;
        let is_active = |(_, state): &&(PeerId, MemberState)| *state == MemberState::Active;
        let active: Vec<SocketAddr> = others.iter().filter(is_active).map(address).collect();
        let others: Vec<SocketAddr> = others.iter().map(address).collect();
        let mut digests = self.contacts().digests(&active);
        // What a member knew that is gone, nobody may be able to tell.
        digests.retain(|digest| others.contains(&digest.from));
        let counted = digests
            .iter()
            .filter(|digest| active.contains(&digest.from))
            .count();
        let mut behind = Vec::new();
        for digest in &digests {
            if let Some(missing) = self.inner.gossip.missing(digest).await {
                behind.push((digest.from, missing));
            }
        }
        Seen {
            others,
            active,
            counted,
            behind,
        }
    }

    fn is_done(&self, seen: &Seen) -> bool {
        if self.patience == Patience::Bounded && self.began.elapsed() >= BOUND {
            tracing::warn!("catching up takes too long: going on with what is there");
            return true;
        }
        if !seen.behind.is_empty() {
            return false;
        }
        if !seen.active.is_empty() {
            return seen.counted > 0;
        }
        let settled = self.began.elapsed() >= self.inner.config.gossip_interval * NOTHING_THERE;
        settled && (self.unheard().is_empty() || self.began.elapsed() >= SILENCE)
    }

    /// Goes on with a snapshot that is being received, begins one if much is missing, or exchanges
    /// what there is with another member, which is faster than to wait for the next round.
    fn ask(&mut self, seen: Seen) {
        let wire = self.inner.gossip.wire();
        match wire.receiving().next() {
            Next::Wait => {}
            Next::Ask(member, ask) => {
                wire.send_over_stream(member, &Message::Ask(ask).encode());
            }
            Next::Done(member, entries) => {
                tracing::info!(%member, entries, "received a snapshot");
                // Whoever made it would give the same again, and others one as new as that.
                for (other, _) in &seen.behind {
                    self.spare(*other, ASK_AGAIN);
                }
                self.exchange(seen);
            }
            Next::Failed(member, failure) => {
                self.spare(
                    member,
                    match failure {
                        Failure::Refused => REFUSED,
                        Failure::Silent => SILENT,
                    },
                );
            }
            Next::Nothing => match self.choose(&seen) {
                Some((member, missing)) => {
                    wire.receiving().begin(member, missing.maps);
                    self.ask_for_first_part();
                }
                None => self.exchange(seen),
            },
        }
    }

    fn spare(&mut self, member: SocketAddr, time: Duration) {
        self.spared.insert(member, Instant::now() + time);
    }

    /// Whom to ask for a snapshot: whoever is active first.
    fn choose(&self, seen: &Seen) -> Option<(SocketAddr, Missing)> {
        let is_spared = |member| {
            let until = self.spared.get(member);
            until.is_some_and(|until| Instant::now() < *until)
        };
        let candidates = || {
            let behind = seen.behind.iter();
            behind.filter(|(member, missing)| missing.versions >= MUCH && !is_spared(member))
        };
        let is_active = |(member, _): &&(SocketAddr, Missing)| seen.active.contains(member);
        let mut random = rand::rng();
        let active = candidates().filter(is_active).choose(&mut random);
        active.or_else(|| candidates().choose(&mut random)).cloned()
    }

    fn ask_for_first_part(&self) {
        let wire = self.inner.gossip.wire();
        if let Next::Ask(member, ask) = wire.receiving().next() {
            tracing::info!(%member, "much is missing: asking for a snapshot");
            wire.send_over_stream(member, &Message::Ask(ask).encode());
        }
    }

    /// Begins an exchange, unless the last one has not been answered yet.
    fn exchange(&mut self, seen: Seen) {
        if let Some(asked) = &self.asked
            && asked.at.elapsed() < ANSWER
            && self.contacts().answers(asked.member) == asked.answers
        {
            return;
        }
        let mut members = seen.others;
        if seen.counted > 0 {
            // Whoever is active has little that is missing, or gives no snapshot.
            self.inner.gossip.wire().receiving().decide();
        }
        if !seen.behind.is_empty() {
            members = seen.behind.into_iter().map(|(member, _)| member).collect();
        }
        let last = self.asked.as_ref().map(|asked| asked.member);
        if members.len() > 1 {
            members.retain(|member| Some(*member) != last);
        }
        let Some(member) = members.into_iter().choose(&mut rand::rng()) else {
            return;
        };
        let answers = self.contacts().answers(member);
        self.asked = Some(Asked {
            member,
            at: Instant::now(),
            answers,
        });
        self.inner.gossip.exchange(member);
    }

    /// Who should be there, was not heard, and did not refuse.
    fn unheard(&self) -> Vec<SocketAddr> {
        let wire = self.inner.gossip.wire();
        let contacts = wire.contacts();
        let is_unheard = |address: &SocketAddr| {
            !contacts.has_heard(*address) && wire.trouble(*address).is_none()
        };
        self.expected.iter().copied().filter(is_unheard).collect()
    }

    /// Also those that refused: they may have started since.
    fn contact_unheard(&self) {
        let unheard: Vec<SocketAddr> = {
            let contacts = self.contacts();
            let is_unheard = |address: &SocketAddr| !contacts.has_heard(*address);
            self.expected.iter().copied().filter(is_unheard).collect()
        };
        for address in unheard {
            self.inner.gossip.contact(address);
        }
    }
}
