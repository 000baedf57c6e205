//! What is checked at the end.

use super::*;

impl World {
    /// Two samples of a series that follow each other may be this far apart after one failure.
    fn most_gap_ms(&self) -> i64 {
        let scenario = &self.scenario;
        let interval_ms = scenario.interval_ms;
        // What the dead one had not sent, a scrape of each, and the guard.
        let usual_ms = 2 * interval_ms + scenario.settings.guard_ms + scenario.batch_ms + 1_500;
        // Slow requests of the dead one.
        let unsent_ms = if scenario.mishaps.len() > 1 {
            2 * DOWNSTREAM_TIMEOUT_MS
        } else {
            0
        };
        // A hole that counts as none.
        let hole_ms = if scenario.class == Class::Restart {
            // Where it sends to several distributors, none may know its interval, and only a failover
            // fills a pause: an election may find it back, and be withdrawn.
            match scenario.distributors {
                1 => 2 * self.longest_interval_ms,
                _ => self.failover_ms() + 5_000,
            }
        } else {
            0
        };
        usual_ms + unsent_ms + hole_ms
    }

    /// Samples of a replica that are missing among its own, and those that its stretch should have
    /// begun with.
    fn holes(&self) -> Vec<String> {
        let mut missing = Vec::new();
        // Where the last term began, if only one failover took place.
        let is_single = self.report.elections == 1;
        let node = self.nodes.iter().find(|node| node.is_alive);
        let boundary = node.and_then(|node| node.state.snapshot().boundary_ms);
        let begins_ms = boundary
            .filter(|_| is_single)
            .map(|at| at + self.scenario.settings.guard_ms);
        for (series, stored) in self.sink.series.iter().enumerate() {
            for stretch in stored.chunk_by(|a, b| a.replica == b.replica) {
                let (Some(first), Some(last)) = (stretch.first(), stretch.last()) else {
                    continue;
                };
                let is_successor = first.replica != stored[0].replica;
                let from_ms = match begins_ms.filter(|_| is_successor) {
                    Some(begins_ms) => begins_ms + 1,
                    None => first.at_ms,
                };
                let scraped = &self.replicas[first.replica].scraped[series];
                let within = scraped
                    .iter()
                    .filter(|one| (from_ms..=last.at_ms).contains(&one.at_ms));
                let (within, there) = (within.count(), stretch.len());
                if within > there {
                    missing.push(format!(
                        "series {series} of r{} has {there} of {within} samples from {} on",
                        first.replica,
                        from_ms - START_MS
                    ));
                }
            }
        }
        missing
    }

    pub(super) fn check_end(&mut self) {
        if self.scenario.class.is_ordered()
            && let Some(what) = self.sink.overlaps()
        {
            self.violated(&what);
        }
        let most_ms = self.most_gap_ms();
        let mut longest_ms = 0;
        let mut late = Vec::new();
        for (series, stored) in self.sink.series.iter().enumerate() {
            let mut times: Vec<i64> = stored.iter().map(|one| one.at_ms).collect();
            times.sort_unstable();
            for pair in times.windows(2) {
                longest_ms = longest_ms.max(pair[1] - pair[0]);
                if pair[1] - pair[0] > most_ms && self.scenario.class.is_calm() {
                    let from_ms = pair[0] - START_MS;
                    late.push(format!(
                        "series {series} has nothing for {} ms from {from_ms} on, most is {most_ms}",
                        pair[1] - pair[0]
                    ));
                }
            }
            // At the end, when all has been well for a while, samples are stored again.
            let silent_ms = self.now_ms - self.sink.arrived_ms[series];
            if silent_ms > 4 * self.scenario.interval_ms + 70_000 {
                late.push(format!(
                    "invariant 5: series {series} ends {silent_ms} ms before the end"
                ));
            }
        }
        if self.scenario.class.is_calm() {
            late.extend(self.holes());
        }
        if self.scenario.class == Class::Outage && self.report.elections > 0 {
            late.push("invariant 6: an election, although no replica died".to_owned());
        }
        self.report.longest_gap_ms = longest_ms;
        for what in late {
            self.violated(&what);
        }
    }
}
