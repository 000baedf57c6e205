//! Who was heard, and what they said that they hold.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use chitchat::ChitchatId;
use tokio::time::Instant;

use super::inspect::{Kind, Summary, UNTOLD};
use super::roster::{LeftOut, Roster};
use crate::admission::Admission;
use crate::seal::refusal::Refusal;

/// How many addresses are remembered as heard from.
const MAX_CONTACTS: usize = 1_000;

/// How long it counts that there was no room for a member. A member that joins tries again more
/// often.
const NO_ROOM: Duration = Duration::from_secs(60);

/// Who was heard, and what they said that they hold.
#[derive(Default)]
pub(super) struct Contacts {
    own: Option<ChitchatId>,
    own_version: u64,
    /// Who was heard since the start, and when last.
    heard: HashMap<SocketAddr, Instant>,
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
pub(super) struct Digest {
    pub(super) from: SocketAddr,
    pub(super) at: Instant,
    pub(super) versions: Vec<(ChitchatId, u64)>,
}

impl Contacts {
    /// At the start, when a member catches up first.
    pub(super) fn new() -> Self {
        Self {
            digests: Some(Digests::default()),
            ..Self::default()
        }
    }

    /// A run of this member begins.
    pub(super) fn begin(&mut self, own: &ChitchatId) {
        self.own = Some(own.clone());
        self.roster.begin(own);
        self.own_version_at.clear();
    }

    /// This member, unless it has heard no other one yet: a digest of such a member says nothing of
    /// others.
    pub(super) fn own_if_heard_any(&self) -> Option<ChitchatId> {
        self.own.clone().filter(|_| self.has_heard_any())
    }

    /// The version of this member's own map.
    pub(super) fn set_own_version(&mut self, version: u64) {
        self.own_version = version;
    }

    /// These are the members that chitchat remembers.
    pub(super) fn remembers<'a>(&mut self, members: impl Iterator<Item = &'a ChitchatId>) {
        self.roster.remembers(members);
    }

    /// Whether chitchat may see this message, and what of its digest it may not. It trusts what it is
    /// told: that all the members it ever heard of fit into one digest, and that no other member
    /// writes this member's map.
    pub(super) fn admit(
        &mut self,
        from: SocketAddr,
        summary: &Summary,
        admission: &Admission,
    ) -> Result<LeftOut, Refusal> {
        // What others learned from this member comes back at times, and is harmless.
        let is_forged = |(id, version): &(ChitchatId, u64)| {
            Some(id) == self.own.as_ref() && *version > self.own_version
        };
        if summary.changed.iter().any(is_forged) {
            return Err(Refusal::OwnMap);
        }
        let has_proven = |address| admission.has_proven(address);
        self.roster
            .admit(from, &summary.digest, admission.has_keys(), has_proven)
    }

    /// Takes note of a message of chitchat's.
    pub(super) fn hear(&mut self, from: SocketAddr, summary: &Summary) {
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
        self.hear_from(from);
        if let Some(digests) = &mut self.digests {
            digests.take(from, own.unwrap_or(0), summary);
        }
        if let Some(version) = own
            && (self.own_version_at.len() < MAX_CONTACTS || self.own_version_at.contains_key(&from))
        {
            self.own_version_at.insert(from, version);
        }
    }

    fn hear_from(&mut self, from: SocketAddr) {
        if self.heard.len() < MAX_CONTACTS || self.heard.contains_key(&from) {
            self.heard.insert(from, Instant::now());
        }
    }

    /// Something else than a message of chitchat's came from a member that is known.
    pub(super) fn hear_part_from(&mut self, from: SocketAddr) {
        if let Some(heard) = self.heard.get_mut(&from) {
            *heard = Instant::now();
        }
    }

    /// What the others hold, given which of them are active: of these, what they held first of all
    /// since that is known; of others, what they held last.
    pub(super) fn digests(&mut self, active: &[SocketAddr]) -> Vec<Digest> {
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

    /// This address is contacted.
    pub(super) fn contact(&mut self, address: SocketAddr) {
        if self.contacted.len() < MAX_CONTACTS {
            self.contacted.entry(address).or_default();
        }
    }

    /// A table of members, this one's or that one's, is full.
    pub(super) fn is_full(&mut self, address: SocketAddr) {
        if let Some(full) = self.contacted.get_mut(&address) {
            *full = Some(Instant::now());
        }
    }

    /// Whether recent gossip with that member failed because a table of members is full.
    pub(super) fn has_no_room(&self, address: SocketAddr) -> bool {
        let full = self.contacted.get(&address).copied().flatten();
        full.is_some_and(|at| at.elapsed() < NO_ROOM)
    }

    /// How often the member at this address has answered.
    pub(super) fn answers(&self, member: SocketAddr) -> u64 {
        self.answers.get(&member).copied().unwrap_or(0)
    }

    /// Whether a member at this address is known.
    pub(super) fn knows(&self, address: SocketAddr) -> bool {
        self.roster.is_anyone_at(address)
    }

    /// Whether this member was heard since the start.
    pub(super) fn has_heard(&self, member: SocketAddr) -> bool {
        self.heard.contains_key(&member)
    }

    /// When this member was heard last.
    pub(super) fn last_heard(&self, member: SocketAddr) -> Option<Instant> {
        self.heard.get(&member).copied()
    }

    /// Whether any other member was heard since the start.
    pub(super) fn has_heard_any(&self) -> bool {
        !self.heard.is_empty()
    }

    /// Catching up begins again: digests count that know `own_version` of this member's map.
    pub(super) fn begin_again(&mut self, own_version: u64) {
        self.digests = Some(Digests {
            own_version,
            ..Digests::default()
        });
    }

    /// The digests are no longer needed.
    pub(super) fn caught_up(&mut self) {
        self.digests = None;
    }

    /// The version of this member's own map that the member at `address` is known to have.
    pub(super) fn own_version_at(&self, address: SocketAddr) -> u64 {
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
