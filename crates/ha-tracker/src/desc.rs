//! [`ReplicaDesc`]: codec, key, and the merge that gossip relies on.

use std::cmp::Ordering;

use kv_core::{Mergeable, SnappyProtobuf};

use crate::ReplicaDesc;

/// The codec of stored values; its id is the one of Mimir and Cortex.
pub const CODEC: SnappyProtobuf<ReplicaDesc> = SnappyProtobuf::new("replicaDesc");

/// The store key of a cluster, below the tracker's prefix.
pub(crate) fn key(tenant: &str, cluster: &str) -> String {
    [tenant, "/", cluster].concat()
}

/// Tenant and cluster of a store key below the prefix. The tenant ends at the first `/`; the
/// cluster may contain more of them. `None` if there is no `/`.
pub fn parse_key(key: &str) -> Option<(&str, &str)> {
    key.split_once('/')
}

impl ReplicaDesc {
    /// Whether the entry is marked for deletion.
    pub fn is_deleted(&self) -> bool {
        self.deleted_at > 0
    }

    /// Whether this entry wins over `other`.
    pub(crate) fn is_superseding(&self, other: &Self) -> bool {
        self.precedence(other) == Ordering::Greater
    }

    /// The total order that [`Mergeable::merge`] takes the maximum of.
    ///
    /// Between different replicas the later election wins, then the later sample; for one replica
    /// the later sample of the same election, then the deleted entry. This is Mimir's rule, with
    /// two differences that a join cannot do without. Exact ties between replicas, where Mimir
    /// keeps what it has, go to the larger name. And two entries of one replica from *different*
    /// elections go to the later election, where Mimir takes the later sample: its rule prefers
    /// `r1@10` over `r1@30` over `r2@20` over `r1@10` if `r1@10` has the newest sample, a circle in
    /// which nodes never agree. How a ring agrees that has members of both kinds:
    /// [`ReplicaDesc::outbid`].
    fn precedence(&self, other: &Self) -> Ordering {
        (self.elected_at, self.received_at, self.deleted_at)
            .cmp(&(other.elected_at, other.received_at, other.deleted_at))
            .then_with(|| self.replica.cmp(&other.replica))
            .then_with(|| self.elected_changes.cmp(&other.elected_changes))
    }
}

/// What an entry becomes at a member that runs Mimir's rule when another entry arrives: of one
/// replica the later sample counts, and at the same time a deletion; of two replicas the later
/// election, then the later sample. Otherwise it keeps what it has.
fn mimir_takes(theirs: &ReplicaDesc, over: &ReplicaDesc) -> bool {
    if theirs.replica == over.replica {
        let is_deletion = theirs.is_deleted() && !over.is_deleted();
        return theirs.received_at > over.received_at
            || (theirs.received_at == over.received_at && is_deletion);
    }
    (theirs.elected_at, theirs.received_at) > (over.elected_at, over.received_at)
}

impl Mergeable for ReplicaDesc {
    fn merge(&mut self, other: &Self) -> bool {
        let newer = self.precedence(other) == Ordering::Less;
        if newer {
            self.clone_from(other);
        }
        newer
    }

    /// How a ring agrees in which some members run Mimir's rule: a member of ours that is told an
    /// entry which loses here, and which Mimir's members keep, repeats the winner as if its replica
    /// had been seen a millisecond after the loser's. That is the later sample of the same replica,
    /// or the later one of the same time of election, so Mimir's members take it, and all agree.
    /// Members of ours that are told the same return the same.
    ///
    /// Mimir's member tells its entry when it writes it, which is with the next refresh, and when
    /// states are exchanged. So the members agree at the latest when the entry is refreshed next, by
    /// any of them.
    ///
    /// Entries without a time of election are not outbid: they are Cortex's, which drops that time
    /// from all that it repeats, and would answer for ever.
    fn outbid(&self, other: &Self) -> Option<Self> {
        let differs = (
            self.elected_at,
            self.received_at,
            self.deleted_at,
            &self.replica,
        ) != (
            other.elected_at,
            other.received_at,
            other.deleted_at,
            &other.replica,
        );
        if !differs || other.elected_at <= 0 || mimir_takes(self, other) {
            return None;
        }
        Some(Self {
            received_at: self.received_at.max(other.received_at).checked_add(1)?,
            ..self.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use kv_core::Codec;
    use kv_core::laws::{check_join, join};
    use proptest::prelude::*;

    use super::*;

    /// Mimir's rule, restated from its behaviour: what `ours` becomes when `theirs` arrives.
    fn mimir(ours: &ReplicaDesc, theirs: &ReplicaDesc) -> ReplicaDesc {
        if mimir_takes(theirs, ours) {
            theirs.clone()
        } else {
            ours.clone()
        }
    }

    prop_compose! {
        // Few distinct values, so that ties are common.
        fn desc()(
            replica in "[abc]",
            received_at in 0i64..4,
            deleted_at in 0i64..3,
            elected_at in 0i64..4,
            elected_changes in 0i64..3,
        ) -> ReplicaDesc {
            ReplicaDesc { replica, received_at, deleted_at, elected_at, elected_changes }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn merge_is_a_join(a in desc(), b in desc(), c in desc()) {
            check_join(&a, &b, &c);
        }

        #[test]
        fn any_order_of_delivery_ends_the_same(
            (values, shuffled) in prop::collection::vec(desc(), 1..12)
                .prop_flat_map(|values| (Just(values.clone()), Just(values).prop_shuffle())),
        ) {
            let fold = |all: &[ReplicaDesc]| {
                all.iter().skip(1).fold(all[0].clone(), |merged, value| join(&merged, value))
            };
            prop_assert_eq!(fold(&values), fold(&shuffled));
        }

        #[test]
        fn agrees_with_mimir_but_for_ties_and_its_circles(a in desc(), b in desc()) {
            let tie = mimir(&a, &b) != mimir(&b, &a);
            let other_election = a.replica == b.replica && a.elected_at != b.elected_at;
            if !tie && !other_election {
                prop_assert_eq!(join(&a, &b), mimir(&a, &b));
            }
        }
    }

    /// A member of a ring of both kinds.
    #[derive(Debug, Clone)]
    struct Member {
        is_ours: bool,
        entry: ReplicaDesc,
    }

    impl Member {
        /// What it holds when another member has told it what that one holds; whether that is new.
        fn is_told(&mut self, other: &Self) -> bool {
            let before = self.entry.clone();
            if !self.is_ours {
                self.entry = mimir(&before, &other.entry);
            } else if self.entry.merge(&other.entry) {
                self.outbid(&before, other);
            } else {
                self.outbid(&other.entry, other);
            }
            self.entry != before
        }

        fn outbid(&mut self, loser: &ReplicaDesc, sender: &Self) {
            if let Some(outbid) = self.entry.outbid(loser).filter(|_| !sender.is_ours) {
                self.entry = outbid;
            }
        }
    }

    fn tell(members: &mut [Member], from: usize, to: usize) -> bool {
        let sender = members[from].clone();
        members[to].is_told(&sender)
    }

    prop_compose! {
        fn ring()(
            mut members in prop::collection::vec(
                (any::<bool>(), desc(), 1i64..4).prop_map(|(is_ours, entry, elected_at)| Member {
                    is_ours,
                    entry: ReplicaDesc { elected_at, ..entry },
                }),
                2..6,
            ),
        ) -> Vec<Member> {
            members[0].is_ours = true;
            members
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn a_ring_with_members_of_mimirs_agrees(
            mut members in ring(),
            told in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..12),
        ) {
            let count = members.len();
            for (from, to) in told {
                tell(&mut members, from.index(count), to.index(count));
            }
            // All tell all, until nothing is new. Each round brings what is said in it.
            let mut rounds = 0;
            loop {
                let mut is_news = false;
                for (from, to) in (0..count * count).map(|pair| (pair / count, pair % count)) {
                    is_news |= tell(&mut members, from, to);
                }
                if !is_news {
                    break;
                }
                rounds += 1;
                prop_assert!(rounds < 8, "{:?}", members);
            }
            let told = |entry: &ReplicaDesc| {
                (entry.replica.clone(), entry.elected_at, entry.received_at, entry.deleted_at)
            };
            for member in &members {
                prop_assert_eq!(told(&member.entry), told(&members[0].entry), "{:?}", members);
            }
        }

        #[test]
        fn what_outbids_wins_on_both_sides(a in desc(), b in desc()) {
            let (winner, loser) = if a.is_superseding(&b) { (a, b) } else { (b, a) };
            match winner.outbid(&loser) {
                Some(outbid) => {
                    prop_assert_eq!(&mimir(&loser, &winner), &loser);
                    prop_assert_eq!(&mimir(&loser, &outbid), &outbid);
                    prop_assert_eq!(&mimir(&winner, &outbid), &outbid);
                    prop_assert_eq!(&join(&winner, &outbid), &outbid);
                    prop_assert_eq!(outbid.received_at, loser.received_at + 1);
                }
                // But for what only counts how often replicas changed.
                None if loser.elected_at > 0 => {
                    let mut held = mimir(&loser, &winner);
                    held.elected_changes = winner.elected_changes;
                    prop_assert_eq!(held, winner);
                }
                None => {}
            }
        }
    }

    #[test]
    fn one_without_a_time_of_election_is_not_outbid() {
        let entry = |elected_at, received_at| ReplicaDesc {
            replica: "r1".to_owned(),
            elected_at,
            received_at,
            ..Default::default()
        };
        assert_eq!(entry(30, 60).outbid(&entry(0, 100)), None);
        assert_eq!(entry(30, 60).outbid(&entry(10, 100)), Some(entry(30, 101)));
        assert_eq!(entry(30, 60).outbid(&entry(10, i64::MAX)), None);
    }

    #[test]
    fn mimirs_rule_has_a_circle_and_ours_has_none() {
        let entry = |replica: &str, elected_at, received_at| ReplicaDesc {
            replica: replica.into(),
            elected_at,
            received_at,
            ..Default::default()
        };
        let (old, other, new) = (
            entry("r1", 10, 100),
            entry("r2", 20, 50),
            entry("r1", 30, 60),
        );
        assert_eq!(mimir(&old, &other), other);
        assert_eq!(mimir(&other, &new), new);
        assert_eq!(mimir(&new, &old), old);
        assert_eq!(join(&join(&old, &other), &new), new);
        assert_eq!(join(&join(&new, &old), &other), new);
    }

    #[test]
    fn bytes_are_those_of_mimir() {
        let desc = ReplicaDesc {
            replica: "r1".into(),
            received_at: 1_700_000_000_000,
            ..Default::default()
        };
        let stored: Vec<u8> = CODEC.encode(&desc).unwrap();
        let hex: String = stored.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "0b280a0272311080d095ffbc31");
        assert_eq!(CODEC.decode(&stored).unwrap(), desc);
    }

    #[test]
    fn the_tenant_ends_at_the_first_slash() {
        assert_eq!(parse_key("t1/eu/prod"), Some(("t1", "eu/prod")));
        assert_eq!(parse_key("t1/"), Some(("t1", "")));
        assert_eq!(parse_key("t1"), None);
    }
}
