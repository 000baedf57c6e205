//! The laws of values and codecs, as checks of types of your own. Needs the feature `testing`.
//!
//! Each check panics with the law's name. Call them from a property test, with values of a generator
//! that makes few distinct ones, so that ties are common:
//!
//! ```
//! use kv_core::{Mergeable, keep_larger, laws};
//! use proptest::prelude::*;
//!
//! #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
//! struct Flag {
//!     version: u64,
//!     is_on: bool,
//! }
//!
//! impl Mergeable for Flag {
//!     fn merge(&mut self, other: &Self) -> bool {
//!         keep_larger(self, other)
//!     }
//! }
//!
//! fn flag() -> impl Strategy<Value = Flag> {
//!     (0u64..3, any::<bool>()).prop_map(|(version, is_on)| Flag { version, is_on })
//! }
//!
//! proptest! {
//!     # /*
//!     #[test]
//!     # */
//!     fn flags_can_be_joined(a in flag(), b in flag(), c in flag()) {
//!         laws::check_join(&a, &b, &c);
//!     }
//! }
//! # flags_can_be_joined();
//! ```
//!
//! Without such a library, [`check_joins_of`] takes a list of values: all that a small type has.
#![allow(clippy::panic, reason = "a broken law panics")]

use std::fmt::Debug;

use crate::{Codec, Mergeable};

/// The join of two values.
pub fn join<T: Mergeable + Clone>(a: &T, b: &T) -> T {
    let mut joined = a.clone();
    joined.merge(b);
    joined
}

/// What [`Mergeable`] demands, for three values.
///
/// # Panics
/// A law is broken.
pub fn check_join<T: Mergeable + Clone + PartialEq + Debug>(a: &T, b: &T, c: &T) {
    assert_eq!(join(a, a), *a, "merge must be idempotent");
    assert_eq!(join(a, b), join(b, a), "merge must be commutative");
    assert_eq!(
        join(&join(a, b), c),
        join(a, &join(b, c)),
        "merge must be associative"
    );
    let mut merged = a.clone();
    let says = merged.merge(b);
    assert_eq!(
        says,
        merged != *a,
        "merge must return whether it changed {a:?}"
    );
    if a != b
        && join(a, b) == *a
        && let Some(bid) = a.outbid(b)
    {
        assert_eq!(join(a, &bid), bid, "what outbids wins over the winner");
        assert_eq!(join(b, &bid), bid, "what outbids wins over the loser");
    }
}

/// [`check_join`] for each three of these values: their number cubed, so not for many.
///
/// # Panics
/// A law is broken.
pub fn check_joins_of<T: Mergeable + Clone + PartialEq + Debug>(values: &[T]) {
    for a in values {
        for b in values {
            for c in values {
                check_join(a, b, c);
            }
        }
    }
}

/// What is encoded is decoded to the same value.
///
/// # Panics
/// It is not, or the value cannot be encoded.
pub fn check_codec<T: PartialEq + Debug>(codec: &impl Codec<T>, value: &T) {
    let bytes = match codec.encode(value) {
        Ok(bytes) => bytes,
        Err(error) => panic!("{value:?} cannot be encoded: {error}"),
    };
    match codec.decode(&bytes) {
        Ok(decoded) => assert_eq!(decoded, *value, "what is encoded is decoded"),
        Err(error) => panic!("{value:?} was encoded, but cannot be decoded: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    /// Values whose merge breaks one law each.
    #[derive(Debug, Clone, PartialEq)]
    enum Broken {
        /// Adds: not idempotent.
        Sum(u8),
        /// Keeps what it has: not commutative.
        Mine(u8),
        /// The mean: not associative.
        Mean(u8),
        /// The larger one, but it says the opposite.
        Lies(u8),
    }

    impl Mergeable for Broken {
        fn merge(&mut self, other: &Self) -> bool {
            let before = self.clone();
            match (&mut *self, other) {
                (Self::Sum(a), Self::Sum(b)) => *a += b,
                (Self::Mine(_), Self::Mine(_)) => {}
                (Self::Mean(a), Self::Mean(b)) => *a = a.midpoint(*b),
                (Self::Lies(a), Self::Lies(b)) => {
                    *a = (*a).max(*b);
                    return *self == before;
                }
                _ => {}
            }
            *self != before
        }
    }

    #[test]
    fn each_broken_law_is_named() {
        type Make = fn(u8) -> Broken;
        let cases: [(Make, &str); 4] = [
            (Broken::Sum, "idempotent"),
            (Broken::Mine, "commutative"),
            (Broken::Mean, "associative"),
            (Broken::Lies, "whether it changed"),
        ];
        for (make, law) in cases {
            let values = [0, 4, 8].map(make);
            let broken = catch_unwind(|| check_joins_of(&values[..])).unwrap_err();
            let text = broken.downcast_ref::<String>().unwrap();
            assert!(text.contains(law), "{law}: {text}");
        }
    }
}
