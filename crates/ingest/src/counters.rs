//! Counters of atomic numbers.

use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}
