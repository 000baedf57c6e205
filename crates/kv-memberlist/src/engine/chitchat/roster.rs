//! Who may be in chitchat's table of members.
//!
//! chitchat remembers each member that a digest names, for minutes, and cannot be made to forget. So a
//! member that was only heard of gets there as long as there are few such: it takes no place of one
//! that has spoken for itself. Who is left out is asked, and gets in once it has answered.

use std::collections::HashMap;
use std::net::SocketAddr;

use chitchat::ChitchatId;

use super::inspect::{MAX_DIGEST, MAX_MEMBERS, digest_size};
use crate::names::is_showable;
use crate::seal::refusal::Refusal;

/// Members that were only heard of, at most.
const MAX_HEARSAY: usize = 100;

/// Runs of members at one address that count as having spoken; further ones count as only heard of.
/// A process that is started again and again has a few in the time that members are remembered.
const MAX_RUNS: usize = 4;

/// The members that chitchat may remember.
#[derive(Default)]
pub(super) struct Roster {
    own: Option<ChitchatId>,
    /// Whether each has spoken for itself.
    known: HashMap<ChitchatId, bool>,
    digest_size: usize,
}

/// What of a digest chitchat is not told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) members: Vec<ChitchatId>,
    /// Whether some have names that cannot be shown.
    pub(super) names: bool,
    /// Where those are that may get in when they have answered.
    pub(super) unproven: Vec<SocketAddr>,
}

impl Roster {
    /// A run of this member begins.
    pub(super) fn begin(&mut self, own: &ChitchatId) {
        self.own = Some(own.clone());
    }

    /// These are the members that chitchat remembers.
    pub(super) fn remembers<'a>(&mut self, members: impl Iterator<Item = &'a ChitchatId>) {
        let mut before = std::mem::take(&mut self.known);
        self.known = members
            .map(|id| {
                let (id, spoke) = before.remove_entry(id).unwrap_or((id.clone(), false));
                let is_own = Some(&id) == self.own.as_ref();
                (id, spoke || is_own)
            })
            .collect();
        self.digest_size = digest_size(self.known.keys());
    }

    /// Admits the members that the digest of a packet names. `has_proven` says of an address whether
    /// packets that name it are its own, which `from` is known to be; if `all` are, no member is only
    /// heard of. An error if the sender itself has no place.
    pub(super) fn admit(
        &mut self,
        from: SocketAddr,
        digest: &[(ChitchatId, u64)],
        all: bool,
        has_proven: impl Fn(SocketAddr) -> bool,
    ) -> Result<LeftOut, Refusal> {
        let mut left_out = LeftOut::default();
        let speaker = speaker(from, digest);
        if let Some(speaker) = speaker {
            self.speaks(speaker, all)?;
        }
        for (id, _) in digest {
            if self.known.contains_key(id) {
                continue;
            }
            let address = id.gossip_advertise_addr;
            let names = !is_showable(&id.node_id);
            left_out.names |= names;
            if !names && !self.is_forged_run(id) {
                let spoke = all || (!self.is_anyone_at(address) && has_proven(address));
                if self.has_room(id, spoke) {
                    self.insert(id, spoke);
                    continue;
                }
                left_out.unproven.push(address);
            }
            left_out.members.push(id.clone());
        }
        Ok(left_out)
    }

    /// A member names itself.
    fn speaks(&mut self, id: &ChitchatId, all: bool) -> Result<(), Refusal> {
        let of_address = |(run, spoke): &(&ChitchatId, &bool)| {
            **spoke && *run != id && run.gossip_advertise_addr == id.gossip_advertise_addr
        };
        let counts = all || self.known.iter().filter(of_address).count() < MAX_RUNS;
        if let Some(spoke) = self.known.get_mut(id) {
            *spoke |= counts;
        } else if self.has_room(id, counts) {
            self.insert(id, counts);
        } else {
            return Err(Refusal::TooManyMembers);
        }
        Ok(())
    }

    pub(super) fn is_anyone_at(&self, address: SocketAddr) -> bool {
        let mut known = self.known.keys();
        known.any(|id| id.gossip_advertise_addr == address)
    }

    /// No other member began at this member's address after it: one that says so may be believed to
    /// have heard it from this member.
    fn is_forged_run(&self, id: &ChitchatId) -> bool {
        self.own.as_ref().is_some_and(|own| {
            id.gossip_advertise_addr == own.gossip_advertise_addr
                && id.generation_id >= own.generation_id
                && id != own
        })
    }

    fn has_room(&self, id: &ChitchatId, spoke: bool) -> bool {
        let hearsay = || self.known.values().filter(|spoke| !**spoke).count();
        self.known.len() < MAX_MEMBERS
            && self.digest_size + digest_size([id]) <= MAX_DIGEST
            && (spoke || hearsay() < MAX_HEARSAY)
    }

    fn insert(&mut self, id: &ChitchatId, spoke: bool) {
        self.digest_size += digest_size([id]);
        self.known.insert(id.clone(), spoke);
    }
}

/// Whom a packet is from: of those that its digest names at its address, the one that began last. A
/// member itself names none that began after it.
fn speaker(from: SocketAddr, digest: &[(ChitchatId, u64)]) -> Option<&ChitchatId> {
    let there = digest
        .iter()
        .map(|(id, _)| id)
        .filter(|id| id.gossip_advertise_addr == from && is_showable(&id.node_id));
    there.max_by_key(|id| id.generation_id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn address(number: usize) -> SocketAddr {
        let [.., high, low] = number.to_be_bytes();
        ([10, 0, high, low], 7946).into()
    }

    fn run(number: usize, generation: u64) -> ChitchatId {
        ChitchatId::new(format!("member-{number}"), generation, address(number))
    }

    fn digest(members: impl IntoIterator<Item = ChitchatId>) -> Vec<(ChitchatId, u64)> {
        members.into_iter().map(|id| (id, 1)).collect()
    }

    fn roster() -> Roster {
        let mut roster = Roster::default();
        roster.begin(&run(0, 5));
        roster.remembers([run(0, 5)].iter());
        roster
    }

    fn invented() -> Vec<(ChitchatId, u64)> {
        digest((1000..1600).map(|number| run(number, 1)))
    }

    const NOBODY: fn(SocketAddr) -> bool = |_| false;

    #[test]
    fn invented_members_take_no_place_of_real_ones() {
        let mut roster = roster();
        let left_out = roster
            .admit(address(999), &invented(), false, NOBODY)
            .unwrap();
        assert_eq!(left_out.members.len(), 600 - MAX_HEARSAY);
        assert_eq!(left_out.unproven.len(), left_out.members.len());
        for real in 1..=450 {
            let named = digest([run(0, 5), run(real, 1)]);
            let left_out = roster.admit(address(real), &named, false, NOBODY).unwrap();
            assert_eq!(left_out, LeftOut::default(), "{real}");
        }
        // Told of by others, and having answered.
        let told = digest([run(500, 1), run(501, 1)]);
        let left_out = roster
            .admit(address(1), &told, false, |at| at == address(500))
            .unwrap();
        assert_eq!(left_out.members, [run(501, 1)]);
        // It is the same for what chitchat says afterwards.
        let remembered: Vec<ChitchatId> = roster.known.keys().cloned().collect();
        roster.remembers(remembered.iter());
        let left_out = roster.admit(address(1), &told, false, NOBODY).unwrap();
        assert_eq!(left_out.members, [run(501, 1)]);
    }

    #[test]
    fn a_sender_without_a_place_is_refused() {
        let mut roster = roster();
        for real in 1..MAX_MEMBERS {
            let named = digest([run(real, 1)]);
            assert!(roster.admit(address(real), &named, false, NOBODY).is_ok());
        }
        let refused = roster.admit(address(700), &digest([run(700, 1)]), false, NOBODY);
        assert_eq!(refused, Err(Refusal::TooManyMembers));
        assert!(
            roster
                .admit(address(1), &digest([run(1, 1)]), false, NOBODY)
                .is_ok()
        );
    }

    #[test]
    fn names_at_one_address_do_not_multiply() {
        let mut roster = roster();
        for generation in 0..1000 {
            let named = digest([run(1, generation)]);
            let _ = roster.admit(address(1), &named, false, NOBODY);
        }
        let spoke = roster.known.values().filter(|spoke| **spoke).count();
        assert_eq!(spoke, 1 + MAX_RUNS);
        assert_eq!(roster.known.len(), spoke + MAX_HEARSAY);
        // Nobody can say of another's address who is the last there.
        let mut roster = self::roster();
        assert!(
            roster
                .admit(address(2), &digest([run(1, u64::MAX)]), false, |_| true)
                .is_ok()
        );
        assert!(
            roster
                .admit(address(1), &digest([run(1, 1)]), false, NOBODY)
                .is_ok()
        );
        assert_eq!(roster.known.get(&run(1, 1)), Some(&true));
    }

    #[test]
    fn runs_at_the_own_address_that_cannot_be_are_left_out() {
        let mut roster = roster();
        let named = digest([run(0, 4), run(0, 6), run(0, u64::MAX)]);
        let left_out = roster.admit(address(1), &named, false, NOBODY).unwrap();
        assert_eq!(left_out.members, [run(0, 6), run(0, u64::MAX)]);
        assert!(left_out.unproven.is_empty());
    }

    #[test]
    fn names_that_cannot_be_shown_are_left_out_whoever_says_them() {
        for name in [
            "\x1b]0;owned\x07",
            "a\u{202e}b",
            "c1\u{9b}31m",
            "two\nlines",
        ] {
            let id = ChitchatId::new(name, 1, address(1));
            for all in [false, true] {
                let mut roster = roster();
                let named = digest([id.clone(), run(2, 1)]);
                let left_out = roster.admit(address(1), &named, all, NOBODY).unwrap();
                assert_eq!(left_out.members, std::slice::from_ref(&id));
                assert!(left_out.names && roster.known.contains_key(&run(2, 1)));
            }
        }
    }

    #[test]
    fn with_keys_all_count() {
        let mut roster = roster();
        let left_out = roster
            .admit(address(999), &invented(), true, NOBODY)
            .unwrap();
        assert_eq!(left_out.members.len(), 1);
    }
}
