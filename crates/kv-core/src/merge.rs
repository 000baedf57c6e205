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

    /// For a store that is shared with programs whose merge is not a join, or another one: a value
    /// that both sides prefer to `self` and to `other`, where `self` wins over `other` here, but a
    /// program that has `other` would keep it. `None` if the other program takes `self`, and for all
    /// values that only programs with this merge share, which is the default.
    ///
    /// Two members that are given the same pair must return the same value.
    fn outbid(&self, other: &Self) -> Option<Self>
    where
        Self: Sized,
    {
        let _ = other;
        None
    }
}

/// A value for a store with many writers: it can be kept, compared, sent between threads and
/// joined. Implemented for every type that meets these bounds.
pub trait Value: Mergeable + Clone + PartialEq + Send + Sync + 'static {}

impl<V: Mergeable + Clone + PartialEq + Send + Sync + 'static> Value for V {}
