//! Files that are read again when they change: certificates, keys, CA certificates, secrets.
//!
//! A part that uses files implements [`Reload`] and is [added](WatchedFiles::add) under the name of
//! its setting. [`WatchedFiles::watch`] compares the content of the files every few seconds, because a
//! mounted secret is replaced by renaming a folder, which notifications of the kernel report in too
//! many ways. What cannot be used is logged and counted, and the part keeps what it has.
#![warn(clippy::future_not_send)]

mod metrics;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::registry::Registry;

use metrics::Metrics;

/// Time between two comparisons.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// A part of the process that uses files.
pub trait Reload: Send + Sync + 'static {
    /// The files in use now. They may be others after a [`Reload::reload`].
    fn files(&self) -> Vec<PathBuf>;

    /// Reads the files again and uses what they say, for connections and requests from now on.
    ///
    /// # Errors
    /// Why they cannot be used; then everything stays as it was.
    fn reload(&self) -> Result<(), String>;
}

/// What a check has done about the files of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// They are as they were.
    Unchanged,
    /// They were read again.
    Reloaded,
    /// They cannot be used; the part keeps what it has.
    Failed(String),
}

/// Files that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// The setting that names them.
    pub name: String,
    /// Since when, Unix ms.
    pub since_ms: i64,
    /// The last error.
    pub error: String,
}

/// All parts that use files. Clones share them.
#[derive(Clone)]
pub struct WatchedFiles {
    shared: Arc<Shared>,
}

struct Shared {
    /// Locked while files are read.
    parts: Mutex<Vec<Part>>,
    /// Apart, so that a reader of the state never waits for files.
    failing: Mutex<BTreeMap<Arc<str>, Failing>>,
    metrics: Metrics,
}

struct Part {
    name: Arc<str>,
    source: Arc<dyn Reload>,
    /// The content at the last attempt.
    seen: u64,
    /// Whether there was a check. Before it, the part may have read an earlier content than `seen`.
    is_checked: bool,
}

impl WatchedFiles {
    /// Without any part.
    pub fn new(registry: &mut Registry) -> Self {
        Self {
            shared: Arc::new(Shared {
                parts: Mutex::default(),
                failing: Mutex::default(),
                metrics: Metrics::register(registry),
            }),
        }
    }

    /// Adds a part that has just read its files. `name` is the setting that names them. Reads them. The
    /// first check reads them again in any case: they may have changed in between.
    pub fn add(&self, name: impl Into<Arc<str>>, source: Arc<dyn Reload>) {
        let name = name.into();
        self.shared.metrics.of(&name).in_use();
        let part = Part {
            name,
            seen: content(&source.files()),
            source,
            is_checked: false,
        };
        lock(&self.shared.parts).push(part);
    }

    /// Reads again what has changed, or could not be used the last time. Reads files: not for a
    /// worker of an async runtime.
    pub fn check(&self) -> Vec<(Arc<str>, Outcome)> {
        let mut parts = lock(&self.shared.parts);
        let checked = parts.iter_mut();
        checked
            .map(|part| (Arc::clone(&part.name), self.shared.check(part)))
            .collect()
    }

    /// Checks for as long as the process runs. [`Send`], and cancel safe.
    pub async fn watch(self) {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let files = self.clone();
            // A panic has been logged by the process's hook; the next check tries again.
            let _ = tokio::task::spawn_blocking(move || files.check()).await;
        }
    }

    /// Files that cannot be used now, by name.
    pub fn failing(&self) -> Vec<Failing> {
        lock(&self.shared.failing).values().cloned().collect()
    }
}

impl Shared {
    fn check(&self, part: &mut Part) -> Outcome {
        // Before they are read: what changes meanwhile is found by the next check.
        let content = content(&part.source.files());
        let has_changed = std::mem::replace(&mut part.seen, content) != content;
        let is_first = !std::mem::replace(&mut part.is_checked, true);
        let was_failing = lock(&self.failing).contains_key(&part.name);
        if !has_changed && !is_first && !was_failing {
            return Outcome::Unchanged;
        }
        let metrics = self.metrics.of(&part.name);
        match part.source.reload() {
            Ok(()) => {
                // Reading may have led to other files.
                part.seen = self::content(&part.source.files());
                metrics.in_use();
                lock(&self.failing).remove(&part.name);
                if !has_changed && !was_failing {
                    return Outcome::Unchanged;
                }
                metrics.reloaded();
                tracing::info!(files = &*part.name, "files have changed and are in use");
                Outcome::Reloaded
            }
            Err(error) => {
                metrics.failed();
                self.failed(&part.name, &error);
                Outcome::Failed(error)
            }
        }
    }

    /// Logged once for each error, not at each check.
    fn failed(&self, name: &Arc<str>, error: &str) {
        let mut failing = lock(&self.failing);
        let known = failing.entry(Arc::clone(name)).or_insert_with(|| Failing {
            name: name.to_string(),
            since_ms: now_ms(),
            error: String::new(),
        });
        if known.error != error {
            tracing::error!(
                files = &**name,
                error,
                "files have changed and cannot be used; what they said before stays in use"
            );
            error.clone_into(&mut known.error);
        }
    }
}

/// Of all files, in their order; a file that cannot be read has a content as well.
fn content(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        hasher.write(file.as_os_str().as_encoded_bytes());
        match std::fs::read(file) {
            Ok(bytes) => {
                hasher.write_usize(bytes.len());
                hasher.write(&bytes);
            }
            Err(error) => hasher.write(format!("{:?}", error.kind()).as_bytes()),
        }
    }
    hasher.finish()
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
