//! What is stored.

use kv_core::{Mergeable, SnappyProtobuf, keep_larger};

/// The codec of stores of elections.
pub const CODEC: SnappyProtobuf<Lease> = SnappyProtobuf::new("electionLease");

/// Who is elected, as it is stored.
///
/// For gossip, fields are compared in this order: the later election wins, then the lease that was
/// renewed more often, then a release, then the larger name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, prost::Message)]
pub struct Lease {
    /// Grows with each election.
    #[prost(uint64, tag = "2")]
    pub token: u64,
    /// Grows with each renewal in this term.
    #[prost(uint64, tag = "3")]
    pub renewals: u64,
    /// The holder has ended its term: another may be elected at once.
    #[prost(bool, tag = "4")]
    pub released: bool,
    /// The participant, with what makes it unique.
    #[prost(string, tag = "1")]
    pub holder: String,
}

impl Mergeable for Lease {
    fn merge(&mut self, other: &Self) -> bool {
        keep_larger(self, other)
    }
}

#[cfg(test)]
mod tests {
    use kv_core::laws::check_join;
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        // Few distinct values, so that ties are common.
        fn lease()(
            holder in "[ab]",
            token in 0u64..3,
            renewals in 0u64..3,
            released: bool,
        ) -> Lease {
            Lease { holder, token, renewals, released }
        }
    }

    proptest! {
        #[test]
        fn merge_is_a_join(a in lease(), b in lease(), c in lease()) {
            check_join(&a, &b, &c);
        }
    }
}
