//! How long changes take to reach all nodes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Watches changes on their way. While it does not record, it costs nothing.
#[derive(Default)]
pub(crate) struct Spread {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nodes: usize,
    recording: bool,
    /// By key; one change of a key at a time.
    on_their_way: HashMap<String, Change>,
    arrived: Vec<Duration>,
}

struct Change {
    received_at: i64,
    made_at: Instant,
    holds: Vec<bool>,
    missing: usize,
}

/// Times from a change to when all nodes hold it, or a later change of the same key; seconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Times {
    /// How many changes.
    pub(crate) changes: usize,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    /// Changes that some node did not hold in the end.
    pub(crate) lost: usize,
}

impl Spread {
    /// Changes from now on are followed to this many nodes.
    pub(crate) fn start(&self, nodes: usize) {
        let mut state = self.lock();
        state.nodes = nodes;
        state.recording = true;
    }

    /// Changes from now on are not followed; earlier ones still are.
    pub(crate) fn stop(&self) {
        self.lock().recording = false;
    }

    /// Changes that have not arrived everywhere.
    pub(crate) fn on_their_way(&self) -> usize {
        self.lock().on_their_way.len()
    }

    /// A change is about to be made.
    pub(crate) fn made(&self, key: &str, received_at: i64) {
        let mut state = self.lock();
        if !state.recording || state.on_their_way.contains_key(key) {
            return;
        }
        let change = Change {
            received_at,
            made_at: Instant::now(),
            holds: vec![false; state.nodes],
            missing: state.nodes,
        };
        state.on_their_way.insert(key.to_owned(), change);
    }

    /// A node holds this.
    pub(crate) fn held(&self, node: usize, key: &str, received_at: i64) {
        let mut state = self.lock();
        let Some(change) = state.on_their_way.get_mut(key) else {
            return;
        };
        if received_at < change.received_at || change.holds.get(node).is_none_or(|holds| *holds) {
            return;
        }
        change.holds[node] = true;
        change.missing -= 1;
        if change.missing == 0 {
            let took = change.made_at.elapsed();
            state.on_their_way.remove(key);
            state.arrived.push(took);
        }
    }

    /// What was recorded.
    pub(crate) fn times(&self) -> Times {
        let state = self.lock();
        let mut seconds: Vec<f64> = state.arrived.iter().map(Duration::as_secs_f64).collect();
        seconds.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let index = (seconds.len() as f64 * share) as usize;
            let last = seconds.len().saturating_sub(1);
            seconds.get(index.min(last)).copied().unwrap_or_default()
        };
        Times {
            changes: seconds.len(),
            p50: at(0.5),
            p99: at(0.99),
            max: at(1.0),
            lost: state.on_their_way.len(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_has_arrived_when_all_hold_it_or_a_later_one() {
        let spread = Spread::default();
        spread.made("before", 1);
        spread.start(2);
        spread.made("k", 5);
        spread.held(0, "k", 5);
        spread.held(0, "k", 6);
        tokio::time::advance(Duration::from_secs(1)).await;
        spread.held(1, "k", 4);
        assert_eq!((spread.on_their_way(), spread.times().changes), (1, 0));
        // A joiner is not waited for.
        spread.held(2, "k", 5);
        spread.held(1, "k", 7);
        let times = spread.times();
        assert_eq!((times.changes, times.lost), (1, 0));
        assert!((times.max - 1.0).abs() < 0.01 && (times.p50 - 1.0).abs() < 0.01);
    }
}
