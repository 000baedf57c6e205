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
    /// which nodes never agree.
    fn precedence(&self, other: &Self) -> Ordering {
        (self.elected_at, self.received_at, self.deleted_at)
            .cmp(&(other.elected_at, other.received_at, other.deleted_at))
            .then_with(|| self.replica.cmp(&other.replica))
            .then_with(|| self.elected_changes.cmp(&other.elected_changes))
    }
}

impl Mergeable for ReplicaDesc {
    fn merge(&mut self, other: &Self) -> bool {
        let newer = self.precedence(other) == Ordering::Less;
        if newer {
            self.clone_from(other);
        }
        newer
    }
}

#[cfg(test)]
mod tests {
    use kv_core::Codec;
    use kv_core::conformance::{check_join_laws, join};
    use proptest::prelude::*;

    use super::*;

    /// Mimir's rule, restated from its behaviour: what `ours` becomes when `theirs` arrives.
    fn mimir(ours: &ReplicaDesc, theirs: &ReplicaDesc) -> ReplicaDesc {
        let take = if ours.replica == theirs.replica {
            theirs.received_at > ours.received_at
                || (theirs.received_at == ours.received_at
                    && theirs.is_deleted()
                    && !ours.is_deleted())
        } else {
            (theirs.elected_at, theirs.received_at) > (ours.elected_at, ours.received_at)
        };
        if take { theirs.clone() } else { ours.clone() }
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
            check_join_laws(&a, &b, &c);
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
        let stored: Vec<u8> = CODEC.encode(&desc);
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
