//! What is between chitchat and the link: sealing, counting, history, and who was heard.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::maps::PeerId;
use super::roster::{LeftOut, Roster};
use crate::admission::{Admission, Waiting};
use crate::engine::chitchat::inspect::{Kind, Summary, inspect};
use crate::engine::chitchat::snapshot::message::{Message, Word};
use crate::engine::chitchat::snapshot::{Receiving, Serving, UNTOLD};
use crate::link::{Link, Via};
use crate::seal::packet::{Envelope, Refusal};
use crate::{History, HistoryEntry};

/// How many addresses are remembered as heard from.
const MAX_CONTACTS: usize = 1_000;

/// How long it counts that there was no room for a member. Whoever joins tries again more often.
const NO_ROOM: Duration = Duration::from_secs(60);

/// Sends and receives messages for chitchat.
pub(crate) struct Wire {
    admission: Arc<Admission>,
    link: Arc<dyn Link>,
    advertised: SocketAddr,
    streams: Mutex<HashSet<SocketAddr>>,
    contacts: Mutex<Contacts>,
    history: Mutex<Buffers>,
    history_bytes: usize,
    receiving: Receiving,
    serving: Serving,
}

/// Who was heard, and what they said that they hold.
#[derive(Default)]
pub(crate) struct Contacts {
    own: Option<PeerId>,
    own_version: u64,
    /// Who was heard since the start.
    heard: HashSet<SocketAddr>,
    /// While this member catches up: what the others hold.
    digests: Option<Digests>,
    /// The version of this member's map that each other one has.
    own_version_at: HashMap<SocketAddr, u64>,
    /// Who was contacted, and when that could not take part: one table of members had no room for
    /// the other side's.
    contacted: HashMap<SocketAddr, Option<Instant>>,
    /// How often each member has answered.
    answers: HashMap<SocketAddr, u64>,
    roster: Roster,
}

/// What the others hold, as far as it has to be caught up with.
#[derive(Default)]
struct Digests {
    /// Digests that do not know this version of this member's map are too old.
    own_version: u64,
    /// Members whose first digest counts. Of others it is their last one.
    active: HashSet<SocketAddr>,
    by_member: HashMap<SocketAddr, Digest>,
}

/// What a member said that it holds.
#[derive(Debug, Clone)]
pub(crate) struct Digest {
    pub(crate) from: SocketAddr,
    pub(crate) at: Instant,
    pub(crate) versions: Vec<(PeerId, u64)>,
}

#[derive(Default)]
struct Buffers {
    next_id: u64,
    sent: Ring,
    received: Ring,
}

#[derive(Default)]
struct Ring {
    entries: VecDeque<HistoryEntry>,
    bytes: usize,
}

impl Wire {
    pub(crate) fn new(
        admission: Arc<Admission>,
        link: Arc<dyn Link>,
        advertised: SocketAddr,
        history_bytes: usize,
    ) -> Self {
        Self {
            admission,
            link,
            advertised,
            streams: Mutex::default(),
            contacts: Mutex::new(Contacts {
                digests: Some(Digests::default()),
                ..Contacts::default()
            }),
            history: Mutex::default(),
            history_bytes,
            receiving: Receiving::default(),
            serving: Serving::default(),
        }
    }

    /// The snapshot that this member is being sent.
    pub(crate) fn receiving(&self) -> &Receiving {
        &self.receiving
    }

    /// Who asks this member for a snapshot.
    pub(crate) fn serving(&self) -> &Serving {
        &self.serving
    }

    /// Sends what is not chitchat's, over a stream: it arrives, and in order, or the stream breaks.
    pub(crate) fn send_over_stream(&self, to: SocketAddr, body: &[u8]) {
        self.admission.send(to, body, Via::Stream);
    }

    /// Says something to a member that has just sent something.
    pub(crate) fn say(&self, to: SocketAddr, word: Word) {
        let body = Message::Word(word).encode();
        self.admission.send(to, &body, Via::SizeDecides);
    }

    /// Takes what is not chitchat's.
    pub(super) fn take(&self, from: SocketAddr, message: Message<'_>) {
        match message {
            Message::Ask(ask) => self.serving.ask(from, ask),
            Message::Part(head, part) => self.receiving.take(from, head, part),
            Message::Word(Word::Full) => lock(&self.contacts).is_full(from),
            Message::Word(word) => self.receiving.hear(from, word),
        }
    }

    /// There is no room for a member that spoke: this one's table of members is full.
    pub(super) fn has_no_room_for(&self, member: SocketAddr) {
        lock(&self.contacts).is_full(member);
        self.say(member, Word::Full);
    }

    /// See [`Receiving::hide_gaps`].
    pub(super) fn hide_gaps(&self, body: &mut [u8]) {
        let own = {
            let contacts = lock(&self.contacts);
            // A digest of a member that has heard nobody says nothing of others.
            contacts.own.clone().filter(|_| contacts.any())
        };
        if let Some(own) = own {
            self.receiving.hide_gaps(&own, body);
        }
    }

    /// Where other members reach this one.
    pub(crate) fn advertised(&self) -> SocketAddr {
        self.advertised
    }

    /// Decides whom is sent to and whose packets are taken.
    pub(crate) fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Why the last stream to this address failed.
    pub(crate) fn trouble(&self, address: SocketAddr) -> Option<String> {
        self.link.trouble(address)
    }

    /// The next packet to this address goes over a stream.
    pub(super) fn use_stream_once(&self, address: SocketAddr) {
        lock(&self.contacts).contact(address);
        let mut streams = lock(&self.streams);
        if streams.len() < MAX_CONTACTS {
            streams.insert(address);
        }
    }

    /// A run of this member begins.
    pub(super) fn begin(&self, own: &PeerId) {
        let mut contacts = lock(&self.contacts);
        contacts.own = Some(own.clone());
        contacts.roster.begin(own);
        contacts.own_version_at.clear();
    }

    pub(super) fn send(&self, to: SocketAddr, body: &[u8]) {
        // An earlier run of this member may be remembered with the same address.
        if to == self.advertised {
            return;
        }
        let via = if lock(&self.streams).remove(&to) {
            Via::Stream
        } else {
            Via::SizeDecides
        };
        if self.keeps_history()
            && let Ok(summary) = inspect(body, true)
            && !summary.keys.is_empty()
        {
            self.remember(to, body.len(), summary, |buffers| &mut buffers.sent);
        }
        self.admission.send(to, body, via);
    }

    /// The next packet, and the other end that it came from.
    pub(super) async fn arrival(&self) -> Waiting {
        self.admission.next().await
    }

    /// The message of a packet.
    pub(super) fn unpack(&self, envelope: &Envelope) -> Result<Vec<u8>, Refusal> {
        self.admission.unpack(envelope)
    }

    /// Counts a refused packet, and logs one of each reason from time to time.
    pub(super) fn refuse(&self, from: SocketAddr, refusal: Refusal) {
        self.admission.refuse(from, refusal);
    }

    pub(super) fn keeps_history(&self) -> bool {
        self.history_bytes > 0
    }

    /// The version of this member's own map.
    pub(super) fn set_own_version(&self, version: u64) {
        lock(&self.contacts).own_version = version;
    }

    /// Whether chitchat may see this message. It trusts what it is told: that all the members it
    /// ever heard of fit into one digest, and that nobody else writes this member's map.
    ///
    /// `from` is where the packet is from, for all that is known of it, and `other_end` what the
    /// network says. What comes back is not for chitchat.
    pub(super) fn admit(
        &self,
        from: SocketAddr,
        other_end: SocketAddr,
        summary: &Summary,
    ) -> Result<Vec<PeerId>, Refusal> {
        let left_out = lock(&self.contacts).admit(from, summary, &self.admission)?;
        if left_out.names {
            self.refuse(other_end, Refusal::MemberName);
        }
        if !left_out.unproven.is_empty() {
            self.refuse(other_end, Refusal::UnprovenMembers);
        }
        for address in left_out.unproven {
            self.admission.hear_of(address);
        }
        Ok(left_out.members)
    }

    /// These are the members that chitchat remembers.
    pub(super) fn remembers<'a>(&self, members: impl Iterator<Item = &'a PeerId>) {
        lock(&self.contacts).roster.remembers(members);
    }

    /// Takes note of a message.
    pub(super) fn received(&self, from: SocketAddr, size: usize, summary: Summary) {
        lock(&self.contacts).hear(from, &summary);
        if self.keeps_history() && !summary.keys.is_empty() {
            self.remember(from, size, summary, |buffers| &mut buffers.received);
        }
    }

    fn remember(
        &self,
        peer: SocketAddr,
        size: usize,
        summary: Summary,
        ring: impl FnOnce(&mut Buffers) -> &mut Ring,
    ) {
        let mut buffers = lock(&self.history);
        let id = buffers.next_id;
        buffers.next_id += 1;
        let entry = HistoryEntry {
            id,
            at_ms: crate::clock::now_ms(),
            peer,
            kind: summary.kind.as_str(),
            size,
            keys: summary
                .keys
                .into_iter()
                .filter_map(|key| key.strip_prefix(super::maps::COPY).map(str::to_owned))
                .collect(),
        };
        ring(&mut buffers).push(entry, self.history_bytes);
    }

    pub(crate) fn history(&self) -> History {
        let buffers = lock(&self.history);
        History {
            sent: buffers.sent.entries.iter().cloned().collect(),
            received: buffers.received.entries.iter().cloned().collect(),
        }
    }

    /// Who was heard.
    pub(crate) fn contacts(&self) -> MutexGuard<'_, Contacts> {
        lock(&self.contacts)
    }
}

impl Contacts {
    fn admit(
        &mut self,
        from: SocketAddr,
        summary: &Summary,
        admission: &Admission,
    ) -> Result<LeftOut, Refusal> {
        // What others learned from this member comes back at times, and is harmless.
        let is_forged = |(id, version): &(PeerId, u64)| {
            Some(id) == self.own.as_ref() && *version > self.own_version
        };
        if summary.changed.iter().any(is_forged) {
            return Err(Refusal::OwnMap);
        }
        let has_proven = |address| admission.has_proven(address);
        self.roster
            .admit(from, &summary.digest, admission.has_keys(), has_proven)
    }

    fn hear(&mut self, from: SocketAddr, summary: &Summary) {
        if summary.digest.is_empty() {
            return;
        }
        let own = summary
            .digest
            .iter()
            .find(|(id, version)| Some(id) == self.own.as_ref() && *version != UNTOLD)
            .map(|(_, version)| *version);
        self.contacted.remove(&from);
        if summary.kind == Kind::SynAck
            && (self.answers.len() < MAX_CONTACTS || self.answers.contains_key(&from))
        {
            *self.answers.entry(from).or_default() += 1;
        }
        if self.heard.len() < MAX_CONTACTS {
            self.heard.insert(from);
        }
        if let Some(digests) = &mut self.digests {
            digests.take(from, own.unwrap_or(0), summary);
        }
        if let Some(version) = own
            && (self.own_version_at.len() < MAX_CONTACTS || self.own_version_at.contains_key(&from))
        {
            self.own_version_at.insert(from, version);
        }
    }

    /// What the others hold, given which of them are active: of these, what they held first of all
    /// since that is known; of others, what they held last.
    pub(crate) fn digests(&mut self, active: &[SocketAddr]) -> Vec<Digest> {
        let Some(digests) = &mut self.digests else {
            return Vec::new();
        };
        for member in active {
            // What it held before it was active is not what the cluster holds.
            if digests.active.insert(*member) {
                digests.by_member.remove(member);
            }
        }
        digests.active.retain(|member| active.contains(member));
        digests.by_member.values().cloned().collect()
    }

    fn contact(&mut self, address: SocketAddr) {
        if self.contacted.len() < MAX_CONTACTS {
            self.contacted.entry(address).or_default();
        }
    }

    fn is_full(&mut self, address: SocketAddr) {
        if let Some(full) = self.contacted.get_mut(&address) {
            *full = Some(Instant::now());
        }
    }

    /// Whether that member could not be gossiped with lately, because a table of members is full.
    pub(crate) fn has_no_room(&self, address: SocketAddr) -> bool {
        let full = self.contacted.get(&address).copied().flatten();
        full.is_some_and(|at| at.elapsed() < NO_ROOM)
    }

    /// How often the member at this address has answered.
    pub(crate) fn answers(&self, member: SocketAddr) -> u64 {
        self.answers.get(&member).copied().unwrap_or(0)
    }

    /// Whether a member at this address is known.
    pub(crate) fn knows(&self, address: SocketAddr) -> bool {
        self.roster.is_anyone_at(address)
    }

    /// Whether this member was heard since the start.
    pub(crate) fn has_heard(&self, member: SocketAddr) -> bool {
        self.heard.contains(&member)
    }

    /// Whether any other member was heard since the start.
    pub(crate) fn any(&self) -> bool {
        !self.heard.is_empty()
    }

    /// Catching up begins again: digests count that know `own_version` of this member's map.
    pub(crate) fn begin_again(&mut self, own_version: u64) {
        self.digests = Some(Digests {
            own_version,
            ..Digests::default()
        });
    }

    /// The digests are no longer needed.
    pub(crate) fn caught_up(&mut self) {
        self.digests = None;
    }

    /// The version of this member's own map that the member at `address` is known to have.
    pub(crate) fn own_version_at(&self, address: SocketAddr) -> u64 {
        self.own_version_at.get(&address).copied().unwrap_or(0)
    }
}

impl Digests {
    fn take(&mut self, from: SocketAddr, own_version: u64, summary: &Summary) {
        let is_known = self.by_member.contains_key(&from);
        let has_room = is_known || self.by_member.len() < MAX_CONTACTS;
        if own_version < self.own_version || !has_room || (is_known && self.active.contains(&from))
        {
            return;
        }
        let told = summary.digest.iter().filter(|(_, at)| *at != UNTOLD);
        let digest = Digest {
            from,
            at: Instant::now(),
            versions: told.cloned().collect(),
        };
        self.by_member.insert(from, digest);
    }
}

impl Ring {
    fn push(&mut self, entry: HistoryEntry, bound: usize) {
        self.bytes += cost(&entry);
        self.entries.push_back(entry);
        while self.bytes > bound {
            match self.entries.pop_front() {
                Some(oldest) => self.bytes -= cost(&oldest),
                None => break,
            }
        }
    }
}

/// Memory of an entry, bytes.
fn cost(entry: &HistoryEntry) -> usize {
    let keys: usize = entry
        .keys
        .iter()
        .map(|key| key.len() + size_of::<String>())
        .sum();
    size_of::<HistoryEntry>() + keys
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
