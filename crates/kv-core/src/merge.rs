//! The laws that values of a store with many writers must obey.

/// A value that can be joined with another version of itself.
///
/// An implementation must obey these laws; otherwise gossiping nodes disagree forever. Writing `a ⊔
/// b` for `a` after `a.merge(&b)`:
///
/// - idempotent: `a ⊔ a = a`
/// - commutative: `a ⊔ b = b ⊔ a`, exact ties included
/// - associative: `(a ⊔ b) ⊔ c = a ⊔ (b ⊔ c)`
pub trait Mergeable {
    /// Replaces `self` by the join of both; returns whether that changed it.
    fn merge(&mut self, other: &Self) -> bool;
}

/// A value for a store with many writers: it can be kept, compared, sent between threads and
/// joined. Implemented for every type that meets these bounds.
pub trait Value: Mergeable + Clone + PartialEq + Send + Sync + 'static {}

impl<V: Mergeable + Clone + PartialEq + Send + Sync + 'static> Value for V {}
