//! The effect of one write, and how to apply it to the other store.

use kv_core::{CasUpdate, Mergeable};

/// A write to the primary that is to be applied to the secondary.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change<V> {
    /// The value that the write replaced, joined with all values replaced before: anything up to
    /// this value was overwritten deliberately. `None`: the key was absent.
    replaced: Option<V>,
    /// The new value; `None`: the key was deleted.
    value: Option<V>,
    /// Increases with each write of a key.
    order: u64,
}

/// Whether `value` adds nothing to `known`.
pub(crate) fn covers<V: Mergeable + Clone>(known: Option<&V>, value: &V) -> bool {
    known.is_some_and(|known| !known.clone().merge(value))
}

fn join<V: Mergeable + Clone>(a: Option<V>, b: Option<V>) -> Option<V> {
    match (a, b) {
        (Some(mut a), Some(b)) => {
            a.merge(&b);
            Some(a)
        }
        (a, b) => a.or(b),
    }
}

impl<V: Mergeable + Clone + PartialEq> Change<V> {
    /// `replaced` became `value`. Of two writes of a key the later has the greater `order`.
    pub(crate) fn new(replaced: Option<V>, value: Option<V>, order: u64) -> Self {
        Self {
            replaced,
            value,
            order,
        }
    }

    /// Stores a value unless there is a newer one.
    pub(crate) fn at_least(value: V) -> Self {
        Self::new(None, Some(value), 0)
    }

    /// Joins another change of the same key, in either order.
    pub(crate) fn join(&mut self, mut other: Self) {
        if other.order < self.order {
            std::mem::swap(self, &mut other);
        }
        let before = join(self.replaced.take(), self.value.take());
        self.replaced = join(before, other.replaced);
        self.value = other.value;
        self.order = other.order;
    }

    /// The update of a store that has `existing`.
    pub(crate) fn apply(&self, existing: Option<&V>) -> CasUpdate<V> {
        let newer = existing.filter(|existing| !covers(self.replaced.as_ref(), existing));
        match join(newer.cloned(), self.value.clone()) {
            wanted if wanted.as_ref() == existing => CasUpdate::Keep,
            Some(value) => CasUpdate::Put(value),
            None => CasUpdate::Delete,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The larger wins.
    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Max(u32);

    impl Mergeable for Max {
        fn merge(&mut self, other: &Self) -> bool {
            let newer = other.0 > self.0;
            self.0 = self.0.max(other.0);
            newer
        }
    }

    fn change(replaced: Option<u32>, value: Option<u32>, order: u64) -> Change<Max> {
        Change::new(replaced.map(Max), value.map(Max), order)
    }

    /// The value of a store with `existing` afterwards.
    fn after(change: &Change<Max>, existing: Option<u32>) -> Option<u32> {
        let existing = existing.map(Max);
        match change.apply(existing.as_ref()) {
            CasUpdate::Keep => existing,
            CasUpdate::Put(value) => Some(value),
            CasUpdate::Delete => None,
            CasUpdate::Abort(error) => panic!("{error}"),
        }
        .map(|value| value.0)
    }

    #[test]
    fn a_write_overwrites_what_it_has_seen_and_joins_what_it_has_not() {
        for (replaced, value, existing, expected) in [
            (None, Some(3), None, Some(3)),
            (Some(2), Some(3), Some(2), Some(3)),
            (Some(2), Some(3), Some(1), Some(3)),
            (Some(2), Some(3), None, Some(3)),
            (Some(2), Some(3), Some(9), Some(9)),
            // Knowingly smaller.
            (Some(7), Some(3), Some(7), Some(3)),
            (Some(7), Some(3), Some(8), Some(8)),
            // Deletions.
            (Some(7), None, Some(7), None),
            (Some(7), None, Some(6), None),
            (Some(7), None, Some(8), Some(8)),
            (Some(7), None, None, None),
            (None, None, Some(1), Some(1)),
        ] {
            let change = change(replaced, value, 1);
            assert_eq!(
                after(&change, existing),
                expected,
                "{change:?} on {existing:?}"
            );
        }
    }

    #[test]
    fn nothing_is_written_where_nothing_changes() {
        let change = change(Some(2), Some(3), 1);
        assert!(matches!(change.apply(Some(&Max(3))), CasUpdate::Keep));
        assert!(matches!(change.apply(Some(&Max(4))), CasUpdate::Keep));
    }

    proptest! {
        /// The writes of one key, some of which the secondary already has, wait as one change:
        /// joined in any order, it gives the secondary the primary's value.
        #[test]
        fn changes_that_wait_are_one_in_any_order(
            values in prop::collection::vec(prop::option::of(1u32..9), 2..8),
            followed in 0usize..7,
            seed in any::<prop::sample::Selector>(),
        ) {
            let followed = followed.min(values.len() - 1);
            let mut waiting: Vec<Change<Max>> = values
                .windows(2)
                .zip(1..)
                .map(|(step, order)| change(step[0], step[1], order))
                .collect();
            let index = seed.select(0..waiting.len());
            let mut all = waiting.swap_remove(index);
            while !waiting.is_empty() {
                let index = seed.select(0..waiting.len());
                all.join(waiting.swap_remove(index));
            }
            prop_assert_eq!(after(&all, values[followed]), *values.last().unwrap());
            // A newer value that another process has written in the meantime stays.
            prop_assert_eq!(after(&all, Some(9)), Some(9));
        }
    }
}
