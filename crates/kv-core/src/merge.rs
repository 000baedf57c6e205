//! The laws that values of a store with many writers must obey.

/// A value that can be joined with another version of itself.
///
/// The simplest join keeps the larger of two values in a total order, with [`keep_larger`]. Let a
/// version decide first, and have each writer store a larger one; the other fields only decide
/// between writes of the same version:
///
/// ```
/// use kv_core::{Mergeable, keep_larger};
///
/// // The order of the fields is the order in which they are compared.
/// #[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
/// struct Flag {
///     version: u64,
///     is_on: bool,
/// }
///
/// impl Mergeable for Flag {
///     fn merge(&mut self, other: &Self) -> bool {
///         keep_larger(self, other)
///     }
/// }
/// ```
///
/// Other joins: the union of sets that only grow, or the larger one of each field. `kv_core::laws`
/// (feature `testing`) checks the laws for your type.
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

/// The join of a total order: `current` becomes `other` if that is larger. Returns whether it was.
pub fn keep_larger<T: Ord + Clone>(current: &mut T, other: &T) -> bool {
    let is_larger = *other > *current;
    if is_larger {
        current.clone_from(other);
    }
    is_larger
}

/// A value for a store with many writers: it can be kept, compared, sent between threads and
/// joined. Implemented for every type that meets these bounds.
pub trait Value: Mergeable + Clone + PartialEq + Send + Sync + 'static {}

impl<V: Mergeable + Clone + PartialEq + Send + Sync + 'static> Value for V {}
