//! What needs attention: found by asking each part how it is, told on pages and in the log.
//!
//! Nothing here is in the way of a push: parts keep what they know anyway, and are asked.

mod found;
mod senders;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use admin_api::Severity;
use ha_tracker::Clock;
use kv_core::visible;
use tokio::time::Instant;

use crate::app::Shared;
use found::Found;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// What has not been found for this long is over: what comes and goes is told of once.
const OVER: Duration = Duration::from_secs(15);

/// A part of the process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Component {
    /// The process and its servers.
    Server,
    /// Elections.
    HaTracker,
    /// Where they are kept.
    Store,
    /// Gossip.
    Memberlist,
    /// Two stores.
    MultiKv,
    /// Overrides of single tenants.
    RuntimeConfig,
    /// Those who push.
    Senders,
    /// The backend of this name.
    Downstream(String),
}

/// Something that needs attention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) severity: Severity,
    pub(crate) component: Component,
    /// A sentence without its full stop. It can hold text from outside.
    pub(crate) what: String,
    /// Unix ms.
    pub(crate) since_ms: i64,
    /// What to do about it; likewise.
    pub(crate) remedy: String,
}

/// What was found before.
#[derive(Debug, Default)]
pub(crate) struct Health {
    known: Mutex<BTreeMap<Key, Known>>,
}

/// What a condition is recognised by, whatever its text says today.
type Key = (Component, &'static str);

#[derive(Debug)]
struct Known {
    condition: Condition,
    last_found: Instant,
    /// Whether its part tells the log itself, or we have.
    told: bool,
    tells_itself: bool,
}

/// A line for the log.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Begins(Condition),
    Ends { was: Condition, lasted_ms: i64 },
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::HaTracker => "ha-tracker",
            Self::Store => "kv-store",
            Self::Memberlist => "memberlist",
            Self::MultiKv => "multi-kv",
            Self::RuntimeConfig => "runtime-config",
            Self::Senders => "senders",
            Self::Downstream(name) => return write!(f, "downstream {name}"),
        })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}.", self.what, self.remedy)
    }
}

impl Health {
    /// What needs attention now, the worst first.
    pub(crate) fn conditions(&self, shared: &Shared) -> Vec<Condition> {
        self.seen(found::all(shared), Clock::System.now_ms())
    }

    fn seen(&self, found: Vec<Found>, now_ms: i64) -> Vec<Condition> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
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
            let now = Known {
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

    /// Looks now and then, for ever, and writes one line when something begins and one when it is
    /// over, about what has no lines of its own.
    pub(crate) async fn watch(shared: &Shared) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now_ms = Clock::System.now_ms();
            shared.health.seen(found::all(shared), now_ms);
            shared.health.lines(now_ms).iter().for_each(Line::write);
        }
    }

    fn lines(&self, now_ms: i64) -> Vec<Line> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
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
        let health = Health::default();
        let found = |what: &str| vec![found(Component::Store, Severity::Critical, what)];
        let mut lines = Vec::new();
        for step in 0..20_u32 {
            // Every second time, and in other words each time.
            if step % 2 == 0 {
                health.seen(
                    found(&format!("failed {step} times")),
                    i64::from(step) * 5000 + 7,
                );
            }
            lines.extend(health.lines(i64::from(step) * 5000 + 7));
            tokio::time::advance(LOOK_EVERY).await;
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
        let health = Health::default();
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
        let health = Health::default();
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
