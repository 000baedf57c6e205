//! Decides whether a file was written completely.
//!
//! A file that is written in place is seen in the middle: empty, or cut where it still parses.
//! Loading it could turn overrides off, deduplication among them, by mistake. So a change is loaded
//! once two polls have found the same content, and one that leaves less than there was, once it has
//! stayed for longer.

use std::time::Duration;

use tokio::time::Instant;

/// Time until the second poll of a file that was replaced as a whole (renamed to its name, or by
/// the links of a Kubernetes volume); at most the period.
const REPLACED: Duration = Duration::from_secs(1);
/// A file that became shorter must be unchanged for this many periods.
const SHORTER_PERIODS: u32 = 3;

/// A file as it was read.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) file: String,
    pub(super) text: String,
    /// Device and inode.
    pub(super) identity: (u64, u64),
}

/// The loaded state of a file.
#[derive(Debug)]
struct Taken {
    bytes: usize,
    has_content: bool,
    identity: (u64, u64),
}

/// A change that is not stable yet.
#[derive(Debug)]
struct Pending {
    hash: [u8; 32],
    until: Instant,
}

/// The decision about a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is complete.
    TakeOver,
    /// Poll again then, and warn if there is a reason.
    Wait {
        again: Duration,
        suspicion: Option<String>,
    },
    /// It is never loaded.
    Refuse(String),
}

/// Remembers what was taken over and what waits.
#[derive(Debug, Default)]
pub(super) struct Settling {
    taken: Vec<Taken>,
    pending: Option<Pending>,
}

impl Settling {
    /// Judges the content of one poll; polls are `period` apart. `hash` is of all files.
    pub(super) fn judge(&mut self, read: &[Read], hash: [u8; 32], period: Duration) -> Verdict {
        if let Some(problem) = self.emptied(read) {
            self.pending = None;
            return Verdict::Refuse(problem);
        }
        let (hold, suspicion) = self.hold(read, period);
        let now = Instant::now();
        let until = match &self.pending {
            Some(pending) if pending.hash == hash => pending.until,
            _ => now + hold,
        };
        self.pending = Some(Pending { hash, until });
        let left = until.saturating_duration_since(now);
        if left.is_zero() {
            return Verdict::TakeOver;
        }
        let again = left.min(period);
        Verdict::Wait { again, suspicion }
    }

    /// A file that was emptied: this is never intended.
    pub(super) fn emptied(&self, read: &[Read]) -> Option<String> {
        let both = read.iter().zip(&self.taken);
        let emptied = both
            .filter(|(now, taken)| taken.has_content && !has_content(&now.text))
            .map(|(now, _)| now)
            .next()?;
        Some(format!(
            "{} is empty but had content before; write {{}} into it if nothing is to be overridden",
            emptied.file
        ))
    }

    fn hold(&self, read: &[Read], period: Duration) -> (Duration, Option<String>) {
        let mut hold = REPLACED.min(period);
        let mut suspicion = None;
        for (now, taken) in read.iter().zip(&self.taken) {
            if now.identity != taken.identity {
                continue;
            }
            hold = hold.max(period);
            if now.text.len() < taken.bytes {
                hold = period.saturating_mul(SHORTER_PERIODS);
                suspicion = Some(format!(
                    "{} has shrunk in place from {} to {} bytes, as in the middle of a write; it \
                     is loaded when it has not changed for {hold:?}, or at once if another file \
                     is renamed to its name",
                    now.file,
                    taken.bytes,
                    now.text.len(),
                ));
            }
        }
        (hold, suspicion)
    }

    /// Nothing waits any more.
    pub(super) fn unchanged(&mut self) {
        self.pending = None;
    }

    /// This is in effect now.
    pub(super) fn took_over(&mut self, read: &[Read]) {
        self.pending = None;
        self.taken = read
            .iter()
            .map(|read| Taken {
                bytes: read.text.len(),
                has_content: has_content(&read.text),
                identity: read.identity,
            })
            .collect();
    }
}

/// Anything besides white space, comments and the marks of YAML documents.
pub(super) fn has_content(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim);
    lines.any(|line| !line.is_empty() && !line.starts_with('#') && line != "---" && line != "...")
}
