//! What is shown while the demo runs, live or as lines: the numbers, their history, the events.

use std::collections::VecDeque;
use std::time::Duration;

use remote_write_testkit::{Counts, Gap, ReplicaCounts};

use crate::observer::Observation;
use crate::script::{Phase, Script};

/// Rates kept for the graphs: one per [`RATE_STEP`].
const HISTORY: usize = 240;
/// Events kept.
const EVENTS: usize = 100;
/// Time between two points of a graph.
const RATE_STEP: Duration = Duration::from_millis(500);
/// A rate is taken over the last so many steps.
const RATE_STEPS: usize = 2;

/// One row of the event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Since the start.
    pub(crate) at: Duration,
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The script did something.
    Step,
    /// The distributor elected a replica.
    Election,
    /// Something that should not be.
    Problem,
}

/// One sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SenderRow {
    pub(crate) name: &'static str,
    /// `1.0` or `2.0`.
    pub(crate) protocol: &'static str,
    pub(crate) is_running: bool,
    pub(crate) counts: ReplicaCounts,
}

/// What the sink says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SinkRow {
    pub(crate) counts: Counts,
    pub(crate) gaps: Vec<Gap>,
    /// How long ago the latest sample was scraped.
    pub(crate) silence: Duration,
}

/// Everything there is to show.
#[derive(Debug, Clone)]
pub(crate) struct Dashboard {
    pub(crate) script: Script,
    pub(crate) phase: Phase,
    /// Since the start.
    pub(crate) elapsed: Duration,
    /// The HA tracker page.
    pub(crate) page: String,
    pub(crate) senders: Vec<SenderRow>,
    pub(crate) seen: Observation,
    /// Changes of the elected replica that all distributors agreed on.
    pub(crate) failovers: u64,
    pub(crate) sink: SinkRow,
    pub(crate) accepted: Rate,
    pub(crate) deduplicated: Rate,
    /// The latest ones, oldest first.
    pub(crate) events: VecDeque<Event>,
    /// Events ever logged.
    pub(crate) logged: usize,
    next_step: Duration,
}

impl Dashboard {
    /// An empty one. `page` is the URL of the HA tracker page.
    pub(crate) fn new(script: Script, page: String) -> Self {
        Self {
            script,
            phase: Phase::BothSend,
            elapsed: Duration::ZERO,
            page,
            senders: Vec::new(),
            seen: Observation::default(),
            failovers: 0,
            sink: SinkRow::default(),
            accepted: Rate::default(),
            deduplicated: Rate::default(),
            events: VecDeque::new(),
            logged: 0,
            next_step: Duration::ZERO,
        }
    }

    /// Takes the totals of `seen` into the graphs, if it is time for another point.
    pub(crate) fn step_rates(&mut self) {
        if self.elapsed < self.next_step {
            return;
        }
        // On a fixed schedule, so that each point covers as many scrapes as the others.
        while self.next_step <= self.elapsed {
            self.next_step += RATE_STEP;
        }
        self.accepted.add(self.elapsed, self.seen.accepted);
        self.deduplicated.add(self.elapsed, self.seen.deduplicated);
    }

    /// Adds an event of now.
    pub(crate) fn log(&mut self, kind: Kind, text: String) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        let at = self.elapsed;
        self.events.push_back(Event { at, kind, text });
        self.logged += 1;
    }

    /// The name of the elected replica.
    pub(crate) fn elected(&self) -> Option<&str> {
        self.seen
            .elected
            .as_ref()
            .map(|elected| elected.replica.as_str())
    }

    /// Whether the sink has been without samples for longer than a scrape and its way take.
    pub(crate) fn is_gap_open(&self) -> bool {
        self.sink.counts.stored > 0 && self.sink.silence > 3 * self.script.scrape_interval
    }
}

/// A counter's rate per second, and how it was.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rate {
    totals: VecDeque<(Duration, u64)>,
    /// Oldest first.
    pub(crate) history: VecDeque<u64>,
}

impl Rate {
    fn add(&mut self, at: Duration, total: u64) {
        self.totals.push_back((at, total));
        if self.totals.len() > RATE_STEPS + 1 {
            self.totals.pop_front();
        }
        let Some(&(begun, first)) = self.totals.front() else {
            return;
        };
        let seconds = at.saturating_sub(begun).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        let rate = total.saturating_sub(first) as f64 / seconds;
        self.history.push_back(rate.round() as u64);
    }

    /// The latest, per second.
    pub(crate) fn now(&self) -> u64 {
        self.history.back().copied().unwrap_or(0)
    }
}

/// Minutes and seconds.
pub(crate) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

/// With a comma between thousands.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let texts = [0, 999, 1000, 12_345, 1_234_567].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "12,345", "1,234,567"]);
        assert_eq!(clock(Duration::from_secs(75)), "01:15");
    }

    #[test]
    fn rates_are_over_the_last_second() {
        let mut rate = Rate::default();
        for (at_ms, total) in [(0, 0), (500, 400), (1000, 800), (1500, 800), (2000, 800)] {
            rate.add(Duration::from_millis(at_ms), total);
        }
        assert_eq!(rate.history, [800, 800, 400, 0]);
        for at_ms in (2500..500_000).step_by(500) {
            rate.add(Duration::from_millis(at_ms), 800);
        }
        assert_eq!((rate.history.len(), rate.now()), (HISTORY, 0));
    }

    #[test]
    fn the_event_log_is_bounded() {
        let mut dashboard = Dashboard::new(Script::QUICK, String::new());
        for number in 0..3 * EVENTS {
            dashboard.log(Kind::Step, number.to_string());
        }
        assert_eq!(dashboard.events.len(), EVENTS);
        assert_eq!(
            dashboard.events[EVENTS - 1].text,
            (3 * EVENTS - 1).to_string()
        );
    }
}
