//! Conditions that need attention: found by polling each component, shown on pages and logged.
//!
//! This does not affect pushes: components only keep state that they have anyway.

mod condition;
mod found;
mod search;
mod senders;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use admin_api::Severity;
use ha_tracker::Clock;
use kv_core::{lock, visible};
use tokio::time::Instant;

pub(crate) use condition::{Component, Condition};
use found::Found;
pub use search::HealthSources;

/// Time between two searches for the log.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// A problem that has not been found for this long is over: one that comes and goes is logged once.
const OVER: Duration = Duration::from_secs(15);

/// Conditions that need attention, now and recently.
pub struct Health {
    sources: HealthSources,
    known: Known,
}

/// Problems that were found before.
#[derive(Debug, Default)]
struct Known {
    conditions: Mutex<BTreeMap<Key, KnownCondition>>,
}

/// Identifies a condition, even if its text changes.
type Key = (Component, &'static str);

#[derive(Debug)]
struct KnownCondition {
    condition: Condition,
    last_found: Instant,
    /// Whether it has been logged, by us or by its component.
    told: bool,
    tells_itself: bool,
}

/// A line for the log.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Begins(Condition),
    Ends { was: Condition, lasted_ms: i64 },
}

impl Health {
    /// Polls these components.
    pub fn new(sources: HealthSources) -> Self {
        Self {
            sources,
            known: Known::default(),
        }
    }

    /// The conditions that need attention now, the worst first.
    pub(crate) fn conditions(&self) -> Vec<Condition> {
        self.known
            .seen(search::all(&self.sources), Clock::System.now_ms())
    }

    /// Polls forever, and logs the beginning and the end of each condition that its component does
    /// not log itself.
    pub async fn watch(&self) {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let now_ms = Clock::System.now_ms();
            self.known.seen(search::all(&self.sources), now_ms);
            self.known.lines(now_ms).iter().for_each(Line::write);
        }
    }
}

impl Known {
    fn seen(&self, found: Vec<Found>, now_ms: i64) -> Vec<Condition> {
        let mut known = lock(&self.conditions);
        let mut conditions = Vec::with_capacity(found.len());
        for found in found {
            let key = (found.component.clone(), found.kind);
            let since_ms = known.get(&key).map(|known| known.condition.since_ms);
            let condition = Condition {
                severity: found.severity,
                component: found.component,
                what: found.what,
                since_ms: found.since_ms.or(since_ms).unwrap_or(now_ms),
                remedy: found.remedy,
            };
            conditions.push(condition.clone());
            let told = known.get(&key).is_some_and(|known| known.told);
            let now = KnownCondition {
                condition,
                last_found: Instant::now(),
                told: told || found.tells_itself,
                tells_itself: found.tells_itself,
            };
            known.insert(key, now);
        }
        conditions.sort_by(|a, b| {
            (a.severity, &a.component, a.since_ms).cmp(&(b.severity, &b.component, b.since_ms))
        });
        conditions
    }

    fn lines(&self, now_ms: i64) -> Vec<Line> {
        let mut known = lock(&self.conditions);
        let mut lines = Vec::new();
        for known in known.values_mut().filter(|known| !known.told) {
            known.told = true;
            lines.push(Line::Begins(known.condition.clone()));
        }
        known.retain(|_, known| {
            let is_over = known.last_found.elapsed() >= OVER;
            if is_over && !known.tells_itself {
                lines.push(Line::Ends {
                    lasted_ms: now_ms.saturating_sub(known.condition.since_ms),
                    was: known.condition.clone(),
                });
            }
            !is_over
        });
        lines
    }
}

impl Line {
    fn write(&self) {
        match self {
            Self::Begins(condition) => {
                let Condition {
                    component, what, ..
                } = condition;
                let (what, to_do) = (visible(what), visible(&condition.remedy));
                match condition.severity {
                    Severity::Critical => {
                        tracing::error!(%component, %to_do, "needs attention: {what}");
                    }
                    Severity::Warning => {
                        tracing::warn!(%component, %to_do, "needs attention: {what}");
                    }
                }
            }
            Self::Ends { was, lasted_ms } => {
                let component = &was.component;
                tracing::info!(%component, lasted_ms, "is over: {}", visible(&was.what));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(component: Component, severity: Severity, what: &str) -> Found {
        Found {
            severity,
            component,
            kind: "kind",
            what: what.to_owned(),
            since_ms: None,
            remedy: "do this".to_owned(),
            tells_itself: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_and_goes_has_one_line_at_its_begin_and_one_at_its_end() {
        let health = Known::default();
        let found = |what: &str| vec![found(Component::Store, Severity::Critical, what)];
        let mut lines = Vec::new();
        for step in 0..20_u32 {
            // Found every second time, each time with another text.
            if step % 2 == 0 {
                health.seen(
                    found(&format!("failed {step} times")),
                    i64::from(step) * 5000 + 7,
                );
            }
            lines.extend(health.lines(i64::from(step) * 5000 + 7));
            tokio::time::advance(POLL_INTERVAL).await;
        }
        let [Line::Begins(condition)] = lines.as_slice() else {
            panic!("{lines:?}");
        };
        assert_eq!(condition.what, "failed 0 times");
        let seen = health.seen(found("failed"), 200_000);
        assert_eq!(seen[0].since_ms, 7);
        assert_eq!(health.lines(200_000), []);
        tokio::time::advance(OVER).await;
        let [Line::Ends { was, lasted_ms }] = &health.lines(215_007)[..] else {
            panic!("no end");
        };
        assert_eq!((was.what.as_str(), *lasted_ms), ("failed", 215_000));
        let again = health.seen(found("failed"), 300_000);
        assert_eq!(again[0].since_ms, 300_000);
    }

    #[tokio::test(start_paused = true)]
    async fn what_tells_itself_has_no_lines_here_and_its_own_begin() {
        let health = Known::default();
        let mut own = found(Component::Store, Severity::Critical, "x");
        own.tells_itself = true;
        own.since_ms = Some(5);
        assert_eq!(health.seen(vec![own], 100)[0].since_ms, 5);
        assert_eq!(health.lines(100), []);
        tokio::time::advance(OVER).await;
        assert_eq!(health.lines(200), []);
    }

    #[tokio::test]
    async fn the_worst_comes_first() {
        let health = Known::default();
        let seen = health.seen(
            vec![
                found(Component::Server, Severity::Warning, "a"),
                found(Component::Senders, Severity::Warning, "b"),
                found(Component::Downstream("x".into()), Severity::Critical, "c"),
                found(Component::Store, Severity::Critical, "d"),
            ],
            1,
        );
        let order: Vec<&str> = seen
            .iter()
            .map(|condition| condition.what.as_str())
            .collect();
        assert_eq!(order, ["d", "c", "a", "b"]);
    }
}
