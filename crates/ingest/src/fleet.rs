//! How many instances share what a tenant may send.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of instances that a tenant's requests are spread over, this one included, as far as it
/// is known. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Fleet(
    /// 0 while it is not known.
    Arc<AtomicUsize>,
);

impl Fleet {
    /// So many are alive now; 0 if it is not known.
    pub fn set(&self, instances: usize) {
        self.0.store(instances, Ordering::Relaxed);
    }

    /// How many are alive; `None` if it is not known.
    pub fn instances(&self) -> Option<usize> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            instances => Some(instances),
        }
    }
}
