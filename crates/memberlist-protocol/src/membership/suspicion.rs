//! How long a suspected member has to say that it is alive.

use std::collections::BTreeSet;
use std::time::Duration;

/// A suspicion that goes on. It ends the sooner the more members have come to it on their own.
#[derive(Debug)]
pub(super) struct Suspicion {
    /// Of the suspected member, as it was accused.
    pub(super) incarnation: u32,
    started: Duration,
    bounds: Bounds,
    /// Who suspects it; the first is no confirmation.
    by: BTreeSet<String>,
}

/// How long a suspicion lasts, and what shortens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// With all confirmations.
    pub(super) min: Duration,
    /// Without any.
    pub(super) max: Duration,
    /// Confirmations that count.
    pub(super) wanted: u32,
}

impl Bounds {
    /// In a ring in which so many members are known.
    pub(super) fn new(
        factor: u32,
        max_factor: u32,
        nodes: usize,
        probe_interval: Duration,
    ) -> Self {
        let log = (nodes.max(1) as f64).log10().max(1.0);
        // Go's members truncate to three digits.
        let scale = (log * 1000.0).trunc() / 1000.0;
        let min = probe_interval.mul_f64(scale * f64::from(factor));
        let wanted = factor.saturating_sub(2);
        // With fewer others than that, none can be expected.
        let wanted = if nodes.saturating_sub(2) < wanted as usize {
            0
        } else {
            wanted
        };
        Self {
            min,
            max: min * max_factor,
            wanted,
        }
    }

    fn timeout(&self, confirmations: u32) -> Duration {
        if self.wanted == 0 {
            return self.min;
        }
        let part = f64::from(confirmations + 1).ln() / f64::from(self.wanted + 1).ln();
        let (min, max) = (self.min.as_secs_f64(), self.max.as_secs_f64());
        let seconds = max - part * (max - min);
        let millis = (seconds * 1000.0).floor().max(0.0);
        Duration::from_millis(millis as u64).max(self.min)
    }
}

impl Suspicion {
    pub(super) fn new(incarnation: u32, from: String, bounds: Bounds, now: Duration) -> Self {
        Self {
            incarnation,
            started: now,
            bounds,
            by: BTreeSet::from([from]),
        }
    }

    /// Another member says the same; whether that is news, to be repeated.
    pub(super) fn confirm(&mut self, from: String) -> bool {
        self.confirmations() < self.bounds.wanted && self.by.insert(from)
    }

    fn confirmations(&self) -> u32 {
        u32::try_from(self.by.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    /// When the member is dead.
    pub(super) fn deadline(&self) -> Duration {
        self.started + self.bounds.timeout(self.confirmations())
    }

    pub(super) fn postpone(&mut self, by: Duration) {
        self.started += by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBE: Duration = Duration::from_secs(5);

    #[test]
    fn bounds_grow_with_the_ring() {
        let bounds = |nodes| Bounds::new(4, 6, nodes, PROBE);
        let seconds = |nodes| bounds(nodes).min.as_secs_f64();
        assert_eq!([1, 3, 10].map(seconds), [20.0, 20.0, 20.0]);
        // log10(20) is 1.30103, of which three digits count.
        assert!((seconds(20) - 26.02).abs() < 1e-6);
        assert_eq!(seconds(100), 40.0);
        assert_eq!(bounds(100).max, Duration::from_secs(240));
        assert_eq!([2, 3, 4].map(|nodes| bounds(nodes).wanted), [0, 0, 2]);
    }

    #[test]
    fn without_others_to_confirm_the_shortest_time_counts() {
        let now = Duration::from_secs(100);
        let suspicion = Suspicion::new(1, "a".into(), Bounds::new(4, 6, 3, PROBE), now);
        assert_eq!(suspicion.deadline(), now + Duration::from_secs(20));
    }

    #[test]
    fn each_confirmation_shortens_it() {
        let now = Duration::from_secs(100);
        let mut suspicion = Suspicion::new(1, "a".into(), Bounds::new(4, 6, 10, PROBE), now);
        let left = |suspicion: &Suspicion| (suspicion.deadline() - now).as_millis();
        assert_eq!(left(&suspicion), 120_000);
        assert!(!suspicion.confirm("a".into()), "who came up with it");
        assert!(suspicion.confirm("b".into()));
        // 120 - 100 * ln(2)/ln(3)
        assert_eq!(left(&suspicion), 56_907);
        assert!(!suspicion.confirm("b".into()), "twice");
        assert!(suspicion.confirm("c".into()));
        assert_eq!(left(&suspicion), 20_000);
        assert!(!suspicion.confirm("d".into()), "more than wanted");
        suspicion.postpone(Duration::from_secs(7));
        assert_eq!(left(&suspicion), 27_000);
    }
}
