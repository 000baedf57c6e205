//! What is between chitchat and the link: sealing, counting, history, and who was heard.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::time::Instant;

use super::PeerId;
use crate::link::{Arrival, Link, Opened, Via};
use crate::message::{MAX_DIGEST, MAX_MEMBERS, Summary, digest_size, inspect};
use crate::metrics::Metrics;
use crate::packet::{self, Refusal, Sealer};
use crate::{History, HistoryEntry};

/// How often a refused packet of one reason is logged.
const LOG_REFUSALS_EVERY: Duration = Duration::from_secs(10);

/// How many addresses are remembered as heard from.
const MAX_CONTACTS: usize = 1_000;

/// Sends and receives messages for chitchat.
pub(crate) struct Wire {
    link: Box<dyn Link>,
    arrivals: AsyncMutex<mpsc::Receiver<Arrival>>,
    sealer: Sealer,
    advertised: SocketAddr,
    metrics: Metrics,
    streams: Mutex<HashSet<SocketAddr>>,
    refusals: Mutex<HashMap<&'static str, Instant>>,
    contacts: Mutex<Contacts>,
    history: Mutex<Buffers>,
    history_bytes: usize,
}

/// Who was heard, and what they said that they hold.
#[derive(Default)]
pub(crate) struct Contacts {
    own: Option<PeerId>,
    /// Digests that do not know this version of this member's map are too old.
    own_version_wanted: u64,
    /// The first digest of each member, while this one catches up.
    first_digests: Option<HashMap<SocketAddr, Vec<(PeerId, u64)>>>,
    /// The version of this member's map that each other one has.
    own_version_at: HashMap<SocketAddr, u64>,
    /// The members that chitchat may remember, and the bytes of a digest of them all.
    known: HashSet<PeerId>,
    digest_size: usize,
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
        opened: Opened,
        sealer: Sealer,
        advertised: SocketAddr,
        metrics: Metrics,
        history_bytes: usize,
    ) -> Self {
        Self {
            link: opened.link,
            arrivals: AsyncMutex::new(opened.arrivals),
            sealer,
            advertised,
            metrics,
            streams: Mutex::default(),
            refusals: Mutex::default(),
            contacts: Mutex::new(Contacts {
                first_digests: Some(HashMap::new()),
                ..Contacts::default()
            }),
            history: Mutex::default(),
            history_bytes,
        }
    }

    /// Where other members reach this one.
    pub(crate) fn advertised(&self) -> SocketAddr {
        self.advertised
    }

    /// Why the last stream to this address failed.
    pub(crate) fn trouble(&self, address: SocketAddr) -> Option<String> {
        self.link.trouble(address)
    }

    /// The next packet to this address goes over a stream.
    pub(super) fn use_stream_once(&self, address: SocketAddr) {
        let mut streams = lock(&self.streams);
        if streams.len() < MAX_CONTACTS {
            streams.insert(address);
        }
    }

    /// A run of this member begins.
    pub(super) fn begin(&self, own: &PeerId) {
        let mut contacts = lock(&self.contacts);
        contacts.own = Some(own.clone());
        contacts.own_version_at.clear();
    }

    pub(super) fn send(&self, to: SocketAddr, body: &[u8]) {
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
        self.link
            .send(to, self.sealer.seal(self.advertised, body), via);
    }

    /// The next packet; waits for ever once the link is closed.
    pub(super) async fn arrival(&self) -> Arrival {
        match self.arrivals.lock().await.recv().await {
            Some(arrival) => arrival,
            None => std::future::pending().await,
        }
    }

    pub(super) fn open(&self, arrival: &Arrival) -> Result<packet::Opened, Refusal> {
        self.sealer.open(&arrival.packet)
    }

    /// Counts a refused packet, and logs one of each reason from time to time.
    pub(super) fn refuse(&self, from: SocketAddr, refusal: Refusal) {
        let reason = refusal.reason();
        self.metrics.refuse(reason);
        let mut refusals = lock(&self.refusals);
        let quiet = refusals
            .get(reason)
            .is_some_and(|last| last.elapsed() < LOG_REFUSALS_EVERY);
        if !quiet {
            refusals.insert(reason, Instant::now());
            tracing::warn!(
                %from,
                reason,
                "a gossip packet was refused: {refusal}; others of this kind are counted in \
                 memberlist_client_refused_packets_total"
            );
        }
    }

    pub(super) fn keeps_history(&self) -> bool {
        self.history_bytes > 0
    }

    /// Whether chitchat may see this message. It trusts what it is told: that all the members it
    /// ever heard of fit into one digest, and that nobody else writes this member's map.
    pub(super) fn admit(&self, summary: &Summary) -> Result<(), Refusal> {
        lock(&self.contacts).admit(summary)
    }

    /// These are the members that chitchat remembers.
    pub(super) fn remembers<'a>(&self, members: impl Iterator<Item = &'a PeerId>) {
        let mut contacts = lock(&self.contacts);
        contacts.known = members.cloned().collect();
        contacts.digest_size = digest_size(&contacts.known);
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
                .filter_map(|key| key.strip_prefix(super::COPY).map(str::to_owned))
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
    fn admit(&mut self, summary: &Summary) -> Result<(), Refusal> {
        let is_own = |id: &PeerId| Some(id) == self.own.as_ref();
        if summary.changed.iter().any(is_own) {
            return Err(Refusal::OwnMap);
        }
        let unknown: Vec<PeerId> = summary
            .digest
            .iter()
            .map(|(id, _)| id)
            .filter(|id| !self.known.contains(id))
            .cloned()
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let size = self.digest_size + digest_size(&unknown);
        if size > MAX_DIGEST || self.known.len() + unknown.len() > MAX_MEMBERS {
            return Err(Refusal::TooManyMembers);
        }
        self.digest_size = size;
        self.known.extend(unknown);
        Ok(())
    }

    fn hear(&mut self, from: SocketAddr, summary: &Summary) {
        if summary.digest.is_empty() {
            return;
        }
        let own = summary
            .digest
            .iter()
            .find(|(id, _)| Some(id) == self.own.as_ref())
            .map(|(_, version)| *version);
        if let Some(digests) = &mut self.first_digests
            && digests.len() < MAX_CONTACTS
            && own.unwrap_or(0) >= self.own_version_wanted
        {
            digests
                .entry(from)
                .or_insert_with(|| summary.digest.clone());
        }
        if let Some(version) = own
            && (self.own_version_at.len() < MAX_CONTACTS || self.own_version_at.contains_key(&from))
        {
            self.own_version_at.insert(from, version);
        }
    }

    /// What each member that was heard said, first of all, that it holds.
    pub(crate) fn first_digests(&self) -> Vec<(SocketAddr, Vec<(PeerId, u64)>)> {
        self.first_digests
            .iter()
            .flatten()
            .map(|(address, digest)| (*address, digest.clone()))
            .collect()
    }

    /// The next digest of these counts as their first.
    pub(crate) fn forget_digests(&mut self, members: impl Iterator<Item = SocketAddr>) {
        if let Some(digests) = &mut self.first_digests {
            for member in members {
                digests.remove(&member);
            }
        }
    }

    /// Whether any other member was heard since the start.
    pub(crate) fn any(&self) -> bool {
        !self.own_version_at.is_empty()
            || self
                .first_digests
                .as_ref()
                .is_some_and(|digests| !digests.is_empty())
    }

    /// Catching up begins again: digests count that know `own_version` of this member's map.
    pub(crate) fn begin_again(&mut self, own_version: u64) {
        self.own_version_wanted = own_version;
        self.first_digests = Some(HashMap::new());
    }

    /// The digests are no longer needed.
    pub(crate) fn caught_up(&mut self) {
        self.first_digests = None;
    }

    /// The version of this member's own map that the member at `address` is known to have.
    pub(crate) fn own_version_at(&self, address: SocketAddr) -> u64 {
        self.own_version_at.get(&address).copied().unwrap_or(0)
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
