//! The law that values of a store with many writers obey.

/// A value that can be joined with another version of itself.
///
/// The implementer's duties, without which gossiping nodes disagree for ever. Writing `a ⊔ b` for
/// `a` after `a.merge(&b)`:
///
/// - idempotent: `a ⊔ a = a`
/// - commutative: `a ⊔ b = b ⊔ a`, exact ties included
/// - associative: `(a ⊔ b) ⊔ c = a ⊔ (b ⊔ c)`
pub trait Mergeable {
    /// Makes `self` the join of both; true if that changed `self`.
    fn merge(&mut self, other: &Self) -> bool;
}

/// A value that a store with many writers can hold: what it takes to keep, compare, send between
/// threads and join it. Nothing implements it by hand.
pub trait Value: Mergeable + Clone + PartialEq + Send + Sync + 'static {}

impl<V: Mergeable + Clone + PartialEq + Send + Sync + 'static> Value for V {}
