//! The side of the joiner.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use chitchat::ChitchatId;
use kv_core::lock;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::message::{Ask, BATCH, Head, Word};
use crate::engine::chitchat::inspect::{UNTOLD, overwrite_versions};

/// How long a joiner waits for the next part before it asks again.
const PART_TIMEOUT: Duration = Duration::from_secs(2);

/// How often it asks for the same before it gives the member up. One that answers nothing at all may
/// be of a version that knows no snapshots.
const ATTEMPTS: u32 = 3;

/// How long a member may be undecided. It takes some rounds to know who speaks.
const DECISION: Duration = Duration::from_secs(2);

/// What a joiner is being sent.
#[derive(Default)]
pub(crate) struct Receiving {
    session: Mutex<Option<Session>>,
    undecided: Mutex<Undecided>,
    /// Wakes the task that asks for more.
    wants_more: Notify,
}

/// A member that has just started, and has heard first of others, does not know yet whether much or
/// little is missing. Until it does, no member is to send it anything.
#[derive(Clone, Copy, Default)]
enum Undecided {
    #[default]
    /// It has heard no other member.
    Alone,
    Until(Instant),
    Decided,
}

struct Session {
    from: SocketAddr,
    /// Maps of which this member says meanwhile that it lacks nothing.
    untold: HashSet<ChitchatId>,
    /// What the parts are of; `None` before the first one.
    head: Option<Head>,
    /// The first part that has not arrived.
    next: u32,
    /// The first part that was not asked for.
    asked_to: u32,
    asked: u32,
    heard_at: Instant,
    refused: bool,
    /// Whether the member has answered anything.
    answers: bool,
    /// Parts that arrived before `next`; a batch at most.
    early: BTreeMap<u32, Vec<u8>>,
    /// Messages for chitchat.
    ready: VecDeque<Vec<u8>>,
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing is being received.
    Nothing,
    Wait,
    /// This is to be asked for.
    Ask(SocketAddr, Ask),
    /// All parts have arrived: of how many entries.
    Done(SocketAddr, u64),
    /// The member gives no snapshot now, or has not answered.
    Failed(SocketAddr, Failure),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    Refused,
    Silent,
}

impl Receiving {
    /// From now on, others may send what this member lacks.
    pub(crate) fn decide(&self) {
        *lock(&self.undecided) = Undecided::Decided;
    }

    fn is_undecided(&self) -> bool {
        let mut undecided = lock(&self.undecided);
        let now = Instant::now();
        if matches!(*undecided, Undecided::Alone) {
            *undecided = Undecided::Until(now + DECISION);
        }
        matches!(*undecided, Undecided::Until(until) if now < until)
    }

    /// Begins to receive a snapshot, which brings these maps.
    pub(crate) fn begin(&self, from: SocketAddr, maps: HashSet<ChitchatId>) {
        self.decide();
        *lock(&self.session) = Some(Session {
            from,
            untold: maps,
            head: None,
            next: 0,
            asked_to: 0,
            asked: 0,
            heard_at: Instant::now(),
            refused: false,
            answers: false,
            early: BTreeMap::new(),
            ready: VecDeque::new(),
        });
    }

    /// Gives up what is being received from a member that `is_gone`; which one that was.
    pub(crate) fn give_up_if(&self, is_gone: impl Fn(SocketAddr) -> bool) -> Option<SocketAddr> {
        let gone = lock(&self.session).take_if(|session| is_gone(session.from));
        gone.map(|session| session.from)
    }

    /// Nothing is to be received any more.
    pub(crate) fn end(&self) {
        self.decide();
        *lock(&self.session) = None;
    }

    /// What is to be done now; an ask is counted as asked.
    pub(crate) fn next(&self) -> Next {
        let mut session = lock(&self.session);
        let Some(current) = session.as_mut() else {
            return Next::Nothing;
        };
        let next = current.step();
        if matches!(next, Next::Done(..) | Next::Failed(..)) {
            *session = None;
        }
        next
    }

    /// Takes a part that has arrived; ignores one that was not asked for.
    pub(crate) fn take(&self, from: SocketAddr, head: Head, message: &[u8]) {
        if let Some(session) = lock(&self.session).as_mut()
            && session.from == from
        {
            session.take(head, message);
        }
    }

    /// The member says something else than what it was asked for.
    pub(crate) fn hear(&self, from: SocketAddr, word: Word) {
        if let Some(session) = lock(&self.session).as_mut()
            && session.from == from
        {
            session.refused |= word == Word::NotActive;
            session.answers = true;
            session.heard_at = Instant::now();
        }
    }

    /// Waits until there is something to ask for.
    pub(crate) async fn wants_more(&self) {
        self.wants_more.notified().await;
    }

    /// The next message that chitchat is to see, and from whom.
    pub(crate) fn message(&self) -> Option<(SocketAddr, Vec<u8>)> {
        let mut session = lock(&self.session);
        let session = session.as_mut()?;
        let message = session.ready.pop_front()?;
        if session.wants_more() {
            self.wants_more.notify_one();
        }
        Some((session.from, message))
    }

    /// How far it is, for people.
    pub(crate) fn progress(&self) -> Option<String> {
        let session = lock(&self.session);
        let session = session.as_ref()?;
        let from = session.from;
        Some(match session.head {
            None => format!("waiting for a snapshot from {from}"),
            Some(head) => format!(
                "{} % of {} entries received from {from}",
                u64::from(session.next) * 100 / u64::from(head.count.max(1)),
                head.entries
            ),
        })
    }

    /// Changes a digest that is about to be sent: of the maps that this member is being sent, or has
    /// not decided how to get, it lacks nothing.
    pub(crate) fn hide_gaps(&self, own: &ChitchatId, body: &mut [u8]) {
        if let Some(session) = lock(&self.session).as_ref() {
            overwrite_versions(body, |member| {
                session.untold.contains(member).then_some(UNTOLD)
            });
        } else if self.is_undecided() {
            overwrite_versions(body, |member| (member != own).then_some(UNTOLD));
        }
    }
}

impl Session {
    fn step(&mut self) -> Next {
        if let Some(head) = self.head
            && self.next >= head.count
        {
            return if self.ready.is_empty() {
                Next::Done(self.from, head.entries)
            } else {
                Next::Wait
            };
        }
        if !self.ready.is_empty() {
            self.heard_at = Instant::now();
        }
        let has_all = self.wants_more();
        let is_late = self.heard_at.elapsed() >= PART_TIMEOUT;
        let attempts = if self.answers { ATTEMPTS } else { 1 };
        if self.refused {
            return Next::Failed(self.from, Failure::Refused);
        }
        if is_late && self.asked >= attempts {
            return Next::Failed(self.from, Failure::Silent);
        }
        if !has_all && !is_late {
            return Next::Wait;
        }
        self.heard_at = Instant::now();
        self.asked += 1;
        self.asked_to = self.next + BATCH;
        let snapshot = self.head.map_or(0, |head| head.snapshot);
        let next = self.next;
        Next::Ask(self.from, Ask { snapshot, next })
    }

    /// Whether all that was asked for has arrived, and chitchat has seen most of it.
    fn wants_more(&self) -> bool {
        self.next >= self.asked_to && self.ready.len() < BATCH as usize / 2
    }

    fn take(&mut self, head: Head, message: &[u8]) {
        match self.head {
            Some(known)
                if known
                    == (Head {
                        number: known.number,
                        ..head
                    }) => {}
            // The first one; or the member does not have the other one any more, and begins again.
            _ if head.number == 0 => {
                (self.head, self.next, self.asked_to) = (Some(head), 0, BATCH);
                self.early.clear();
            }
            _ => return,
        }
        if head.number < self.next || head.number >= self.asked_to {
            return;
        }
        self.early.insert(head.number, message.to_vec());
        while let Some(message) = self.early.remove(&self.next) {
            self.ready.push_back(message);
            self.next += 1;
        }
        (self.heard_at, self.asked, self.answers) = (Instant::now(), 0, true);
    }
}
