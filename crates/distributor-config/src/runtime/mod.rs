//! The runtime configuration: limits of single tenants, read again while the process runs.
//!
//! Readers take the current [`RuntimeSnapshot`] from an atomic pointer; a reload makes a new one
//! and swaps it in. A file with a mistake changes nothing, nor does one that may be in the middle of
//! a write (see [`settling`]).

mod files;
mod settling;
mod snapshot;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use ha_tracker::Clock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

pub use snapshot::{InstanceLimitsOverride, MultiKvOverride, RuntimeSnapshot};

use super::errors::{ConfigErrors, Findings};
use super::hints;
use super::model::{Config, Limits, RuntimeConfigSource};
use settling::{Read, Settling, Verdict, has_content};

/// Owns the runtime configuration and the task that reloads it.
#[derive(Debug)]
pub struct RuntimeConfig {
    shared: Arc<Shared>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

/// A cheap handle for those who ask for limits; works on after the shutdown, without reloads.
#[derive(Debug, Clone)]
pub struct TenantLimits {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    files: Vec<PathBuf>,
    period: Duration,
    strict: bool,
    defaults: Arc<Limits>,
    current: ArcSwap<RuntimeSnapshot>,
    changes: watch::Sender<Arc<RuntimeSnapshot>>,
    refused: ArcSwapOption<Refused>,
    /// Held during a reload, so that two of them do not overtake each other.
    last: Mutex<LastAttempt>,
    metrics: Metrics,
}

/// The files have a mistake, or one cannot be read; the previous configuration stays in effect.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// Since when, Unix ms.
    pub since_ms: i64,
    /// All that is wrong.
    pub mistakes: ConfigErrors,
}

/// What the last reload saw: the same again needs no work and no second message.
#[derive(Debug, Default)]
struct LastAttempt {
    content: Option<[u8; 32]>,
    mistakes: Option<ConfigErrors>,
    warnings: Vec<String>,
    settling: Settling,
}

/// How a reload came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// The start: there is nothing that could stay in effect.
    Start,
    /// A poll was due.
    Period,
    /// An operator asked for a reload, which means that the files are complete.
    Asked,
}

/// What a reload came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reloaded {
    Unchanged,
    Changed,
    /// There is a change that is not stable yet; poll again after this.
    Again(Duration),
}

#[derive(Debug, Clone, Default)]
struct Metrics {
    last_reload_successful: Gauge,
    hash: Family<HashLabels, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HashLabels {
    sha256: String,
}

impl Metrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "cortex_runtime_config_last_reload_successful",
            "Whether the last reload of the runtime configuration was successful",
            metrics.last_reload_successful.clone(),
        );
        registry.register(
            "cortex_runtime_config_hash",
            "Hash of the currently active runtime configuration, merged from all its files",
            metrics.hash.clone(),
        );
        metrics
    }
}

impl RuntimeConfig {
    /// Loads the files of `source` and, when there are any, starts to poll them for changes every
    /// `source.period`. What a tenant does not override has the value of `defaults`.
    ///
    /// Must be called in a tokio runtime.
    ///
    /// # Errors
    /// All mistakes in the files, or that one cannot be read: a process does not start with other
    /// limits than it was given.
    pub async fn start(
        source: RuntimeConfigSource,
        defaults: Limits,
        registry: &mut Registry,
    ) -> Result<Self, ConfigErrors> {
        let shared = Shared::new(source, defaults, registry);
        let stop = CancellationToken::new();
        if shared.files.is_empty() {
            shared.metrics.last_reload_successful.set(1);
            return Ok(Self {
                shared,
                stop,
                task: None,
            });
        }
        shared.reload(Occasion::Start).await?;
        let work = watch_files(Arc::clone(&shared), stop.clone());
        let task = tokio::spawn(work.instrument(tracing::info_span!("runtime_config")));
        Ok(Self {
            shared,
            stop,
            task: Some(task),
        })
    }

    /// Reads the files of `config.runtime_config` as [`RuntimeConfig::start`] does, and nothing else.
    /// Returns what deserves a warning, in them or beside what `config` says.
    ///
    /// # Errors
    /// All mistakes in the files, or that one cannot be read.
    pub async fn check(config: &Config) -> Result<Vec<String>, ConfigErrors> {
        let (source, defaults) = (config.runtime_config.clone(), config.limits.clone());
        let shared = Shared::new(source, defaults, &mut Registry::default());
        shared.reload(Occasion::Start).await?;
        let last = shared.last.lock().await;
        let mut warnings = last.warnings.clone();
        let current = shared.current.load();
        warnings.extend(hints::of_tenants(config, &current));
        warnings.extend(hints::lossless_tenants(config, &current));
        Ok(warnings)
    }

    /// The limits of `tenant`, as [`TenantLimits::limits`].
    pub fn limits(&self, tenant: &str) -> Arc<Limits> {
        self.shared.limits(tenant)
    }

    /// What is in effect now.
    pub fn snapshot(&self) -> Arc<RuntimeSnapshot> {
        self.shared.current.load_full()
    }

    /// A handle to give to others.
    pub fn reader(&self) -> TenantLimits {
        TenantLimits {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Receives every later snapshot, or the last of several; the current one counts as seen.
    pub fn subscribe(&self) -> watch::Receiver<Arc<RuntimeSnapshot>> {
        self.shared.changes.subscribe()
    }

    /// Reads the files now, and loads them without waiting until they are stable; only a file that
    /// was emptied is refused. Returns whether anything changed.
    ///
    /// # Errors
    /// All mistakes in the files, also when an earlier reload met the same; nothing has changed
    /// then.
    pub async fn reload_now(&self) -> Result<bool, ConfigErrors> {
        let reloaded = self.shared.reload(Occasion::Asked).await?;
        Ok(reloaded == Reloaded::Changed)
    }

    /// Stops the reloads and waits for the task's end.
    ///
    /// # Errors
    /// The panic of the task, if it panicked.
    pub async fn shutdown(mut self) -> Result<(), JoinError> {
        self.stop.cancel();
        match self.task.take() {
            Some(task) => task.await,
            None => Ok(()),
        }
    }
}

impl Drop for RuntimeConfig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl TenantLimits {
    /// The limits of `tenant`: its overrides, else the defaults. Takes no lock and allocates
    /// nothing.
    pub fn limits(&self, tenant: &str) -> Arc<Limits> {
        self.shared.limits(tenant)
    }

    /// What is in effect now.
    pub fn snapshot(&self) -> Arc<RuntimeSnapshot> {
        self.shared.current.load_full()
    }

    /// Why the current content of the files is not in effect, if it is not.
    pub fn refused(&self) -> Option<Arc<Refused>> {
        self.shared.refused.load_full()
    }

    /// As [`RuntimeConfig::subscribe`].
    pub fn subscribe(&self) -> watch::Receiver<Arc<RuntimeSnapshot>> {
        self.shared.changes.subscribe()
    }
}

async fn watch_files(shared: Arc<Shared>, stop: CancellationToken) {
    let mut pause = shared.period;
    while stop
        .run_until_cancelled(tokio::time::sleep(pause))
        .await
        .is_some()
    {
        // The outcome is in the log and in the metrics.
        pause = match shared.reload(Occasion::Period).await {
            Ok(Reloaded::Again(soon)) => soon,
            _ => shared.period,
        };
    }
}

impl Shared {
    /// What is in effect without any file.
    fn new(source: RuntimeConfigSource, defaults: Limits, registry: &mut Registry) -> Arc<Self> {
        let defaults = Arc::new(defaults);
        let empty = Arc::new(RuntimeSnapshot::empty(Arc::clone(&defaults)));
        Arc::new(Self {
            files: source.files,
            period: source.period,
            strict: source.strict,
            defaults,
            current: ArcSwap::new(Arc::clone(&empty)),
            changes: watch::Sender::new(empty),
            refused: ArcSwapOption::empty(),
            last: Mutex::default(),
            metrics: Metrics::register(registry),
        })
    }

    fn limits(&self, tenant: &str) -> Arc<Limits> {
        Arc::clone(self.current.load().limits(tenant))
    }

    async fn reload(&self, occasion: Occasion) -> Result<Reloaded, ConfigErrors> {
        if self.files.is_empty() {
            return Ok(Reloaded::Unchanged);
        }
        let mut last = self.last.lock().await;
        let mut findings = Findings::new(self.strict);
        let read = match occasion {
            Occasion::Start => files::read_settled(&self.files, &mut findings).await,
            Occasion::Period | Occasion::Asked => files::read(&self.files, &mut findings).await,
        };
        let readable = findings.errors.is_empty();
        let hash = content_hash(&read);
        if readable && last.content == Some(hash) {
            return self.unchanged(&mut last);
        }
        if readable {
            match self.verdict(&mut last.settling, &read, hash, occasion) {
                Verdict::TakeOver => {}
                Verdict::Wait { again, suspicion } => {
                    if let Some(suspicion) = suspicion {
                        self.suspect(suspicion);
                    }
                    return Ok(Reloaded::Again(again));
                }
                Verdict::Refuse(problem) => findings.error("runtime_config.file", "", problem),
            }
        }
        // Readable again with the content of before is a change from unreadable.
        last.content = readable.then_some(hash);
        let (snapshot, read, mut findings) = self.parse(read, hash, findings).await;
        let Some(snapshot) = snapshot.filter(|_| findings.errors.is_empty()) else {
            return Err(self.refuse(&mut last, findings));
        };
        last.mistakes = None;
        last.settling.took_over(&read);
        let warnings = findings.take_warnings();
        if warnings != last.warnings {
            for warning in &warnings {
                tracing::warn!(warning = %warning, "runtime configuration");
            }
            last.warnings = warnings;
        }
        self.accept(snapshot);
        Ok(Reloaded::Changed)
    }

    fn verdict(
        &self,
        settling: &mut Settling,
        read: &[Read],
        hash: [u8; 32],
        occasion: Occasion,
    ) -> Verdict {
        match occasion {
            Occasion::Period => settling.judge(read, hash, self.period),
            Occasion::Asked => settling
                .emptied(read)
                .map_or(Verdict::TakeOver, Verdict::Refuse),
            Occasion::Start => {
                for read in read.iter().filter(|read| !has_content(&read.text)) {
                    tracing::warn!(
                        file = read.file,
                        "the runtime configuration is empty: nothing is overridden; write {{}} \
                         into it if this is intended"
                    );
                }
                Verdict::TakeOver
            }
        }
    }

    /// The same as at the last reload, perhaps after changes in between.
    fn unchanged(&self, last: &mut LastAttempt) -> Result<Reloaded, ConfigErrors> {
        last.settling.unchanged();
        if let Some(mistakes) = &last.mistakes {
            return Err(mistakes.clone());
        }
        if self.refused.swap(None).is_some() {
            self.metrics.last_reload_successful.set(1);
            tracing::info!("the runtime configuration has its previous content again");
        }
        Ok(Reloaded::Unchanged)
    }

    /// It may be in the middle of a write.
    fn suspect(&self, suspicion: String) {
        let mut findings = Findings::default();
        findings.error("runtime_config.file", "", suspicion);
        let mistakes = ConfigErrors(findings.errors);
        let known = self.refused.load();
        if known
            .as_ref()
            .is_none_or(|known| known.mistakes != mistakes)
        {
            tracing::warn!(
                err = %mistakes,
                "runtime configuration not loaded yet; the previous one stays in effect"
            );
            self.set_refused(mistakes);
        }
    }

    fn set_refused(&self, mistakes: ConfigErrors) {
        self.metrics.last_reload_successful.set(0);
        let since_ms = self.refused.load().as_ref().map(|refused| refused.since_ms);
        self.refused.store(Some(Arc::new(Refused {
            since_ms: since_ms.unwrap_or_else(|| Clock::System.now_ms()),
            mistakes,
        })));
    }

    /// Thousands of tenants take long enough to hold up other tasks of the thread.
    async fn parse(
        &self,
        read: Vec<Read>,
        hash: [u8; 32],
        mut findings: Findings,
    ) -> (Option<RuntimeSnapshot>, Vec<Read>, Findings) {
        let defaults = Arc::clone(&self.defaults);
        let work = tokio::task::spawn_blocking(move || {
            let snapshot = RuntimeSnapshot::parse(&read, &defaults, hex(&hash), &mut findings);
            (snapshot, read, findings)
        });
        work.await.unwrap_or_else(|error| {
            let mut findings = Findings::default();
            findings.error(
                "runtime configuration",
                "",
                format!("was not parsed: {error}"),
            );
            (None, Vec::new(), findings)
        })
    }

    fn refuse(&self, last: &mut LastAttempt, findings: Findings) -> ConfigErrors {
        let mistakes = ConfigErrors(findings.errors);
        if last.mistakes.as_ref() != Some(&mistakes) {
            tracing::error!(
                err = %mistakes,
                "runtime configuration refused; the previous one stays in effect"
            );
            last.mistakes = Some(mistakes.clone());
        }
        self.set_refused(mistakes.clone());
        mistakes
    }

    fn accept(&self, snapshot: RuntimeSnapshot) {
        self.refused.store(None);
        self.metrics.last_reload_successful.set(1);
        self.metrics.hash.clear();
        let labels = HashLabels {
            sha256: snapshot.sha256().to_string(),
        };
        self.metrics.hash.get_or_create(&labels).set(1);
        tracing::info!(
            tenants = snapshot.tenants().count(),
            sha256 = snapshot.sha256(),
            "runtime configuration loaded"
        );
        let snapshot = Arc::new(snapshot);
        self.current.store(Arc::clone(&snapshot));
        self.changes.send_replace(snapshot);
    }
}

/// The lengths keep apart texts whose concatenation is the same.
fn content_hash(all: &[Read]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for Read { text, .. } in all {
        if all.len() > 1 {
            hasher.update(text.len().to_le_bytes());
        }
        hasher.update(text);
    }
    hasher.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
