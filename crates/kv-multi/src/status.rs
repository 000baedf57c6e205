//! The status of a multi store.

use std::time::SystemTime;

/// A write to the secondary that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorFailure {
    /// When.
    pub at: SystemTime,
    /// The key.
    pub key: String,
    /// The error.
    pub error: String,
}

/// Mirroring so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorStatus {
    /// Writes to the secondary, failed ones included.
    pub writes_total: u64,
    /// Failed ones.
    pub write_errors_total: u64,
    /// Keys that wait or are in progress.
    pub pending_keys: usize,
    /// The last failure.
    pub last_error: Option<MirrorFailure>,
}

/// Progress of the backfill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackfillState {
    /// Mirroring is off.
    Off,
    /// No comparison has found the secondary complete yet.
    Running,
    /// One has, since mirroring was turned on or the primary changed.
    Complete,
}

impl BackfillState {
    /// `off`, `running` or `complete`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Running => "running",
            Self::Complete => "complete",
        }
    }
}

/// Copying entries that the secondary lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackfillStatus {
    /// Its progress.
    pub state: BackfillState,
    /// Keys that it has not copied yet.
    pub pending_keys: u64,
    /// Keys that it has copied.
    pub copied_keys_total: u64,
    /// Keys that it could not copy; they are tried again.
    pub failed_keys_total: u64,
}

/// The settings in effect, and progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Name of the store that is read.
    pub primary: &'static str,
    /// Name of the other.
    pub secondary: &'static str,
    /// Whether it is written to.
    pub mirror_enabled: bool,
    /// Since when.
    pub since: SystemTime,
    /// Mirroring so far.
    pub mirror: MirrorStatus,
    /// Backfill so far.
    pub backfill: BackfillStatus,
}
