//! What a program brings that runs a distributor.

use std::fmt;
use std::sync::Arc;

/// The program around this library, as far as pages, metrics and profiles show it.
#[derive(Clone)]
pub struct Program {
    /// The commit that it is built from.
    pub revision: &'static str,
    /// The profiler of its allocator, if it has one.
    pub heap: Option<Arc<dyn HeapProfiler>>,
}

impl Default for Program {
    /// One that says nothing of itself.
    fn default() -> Self {
        Self {
            revision: "unknown",
            heap: None,
        }
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revision = self.revision;
        let heap = self.heap.is_some();
        write!(
            formatter,
            "Program {{ revision: {revision:?}, heap: {heap} }}"
        )
    }
}

/// The profiler of an allocator.
pub trait HeapProfiler: Send + Sync {
    /// Begins to sample allocations; earlier ones are in no profile.
    ///
    /// # Errors
    /// The allocator cannot, and what to do about it.
    fn begin(&self) -> Result<(), String>;

    /// What is allocated now, in the format of pprof, gzipped. It blocks.
    ///
    /// # Errors
    /// There is no profile, and what to do about it.
    fn profile(&self) -> Result<Vec<u8>, String>;
}
