//! The demo as lines, where there is no terminal: one a second, and one per event.

use std::io::{self, Write};
use std::time::Duration;

use crate::dashboard::{Dashboard, Kind, clock, thousands};

const EVERY: Duration = Duration::from_secs(1);

/// Writes lines, each flushed.
pub(crate) struct PlainView<W> {
    out: W,
    next: Duration,
    events: usize,
}

impl<W: Write> PlainView<W> {
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            next: Duration::ZERO,
            events: 0,
        }
    }

    /// Writes the events that are new, and one line if a second has passed since the last one.
    pub(crate) fn show(&mut self, dashboard: &Dashboard) -> io::Result<()> {
        if self.next.is_zero() {
            writeln!(
                self.out,
                "HA distributor demo; the elections: {}\n",
                dashboard.page
            )?;
        }
        let new = (dashboard.logged - self.events).min(dashboard.events.len());
        self.events = dashboard.logged;
        for event in dashboard.events.range(dashboard.events.len() - new..) {
            let kind = match event.kind {
                Kind::Step => "--",
                Kind::Election => "**",
                Kind::Problem => "!!",
            };
            writeln!(self.out, "{} {kind} {}", clock(event.at), event.text)?;
        }
        if dashboard.elapsed >= self.next {
            while self.next <= dashboard.elapsed {
                self.next += EVERY;
            }
            writeln!(self.out, "{}", status(dashboard))?;
        }
        self.out.flush()
    }
}

fn status(dashboard: &Dashboard) -> String {
    let counts = dashboard.sink.counts;
    let gap = if dashboard.is_gap_open() {
        format!(" (open: {:.1} s)", dashboard.sink.silence.as_secs_f64())
    } else {
        String::new()
    };
    format!(
        "{}    elected {} | accepted {}/s | deduplicated {}/s | failovers {} | sink: stored {}, \
         doubled {}, gaps {}{gap}",
        clock(dashboard.elapsed),
        dashboard.elected().unwrap_or("none"),
        dashboard.accepted.now(),
        dashboard.deduplicated.now(),
        dashboard.failovers,
        thousands(counts.stored),
        counts.doubled(),
        dashboard.sink.gaps.len(),
    )
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::script::Script;

    #[test]
    fn one_line_a_second_and_one_per_event() {
        let mut dashboard = Dashboard::new(Script::FULL, "http://…/ha_tracker".to_owned());
        let mut out = Vec::new();
        let mut lines = PlainView::new(&mut out);
        for tenths in 0..=15 {
            dashboard.elapsed = Duration::from_millis(100 * tenths);
            lines.show(&dashboard).unwrap();
        }
        dashboard.log(Kind::Election, "prometheus-0 is elected".to_owned());
        lines.show(&dashboard).unwrap();
        dashboard.sink.counts.stored = 1600;
        dashboard.sink.silence = Duration::from_millis(2340);
        dashboard.elapsed = Duration::from_secs(2);
        lines.show(&dashboard).unwrap();
        expect![[r#"
            HA distributor demo; the elections: http://…/ha_tracker

            00:00    elected none | accepted 0/s | deduplicated 0/s | failovers 0 | sink: stored 0, doubled 0, gaps 0
            00:01    elected none | accepted 0/s | deduplicated 0/s | failovers 0 | sink: stored 0, doubled 0, gaps 0
            00:01 ** prometheus-0 is elected
            00:02    elected none | accepted 0/s | deduplicated 0/s | failovers 0 | sink: stored 1,600, doubled 0, gaps 0 (open: 2.3 s)
        "#]]
        .assert_eq(&String::from_utf8(out).unwrap());
    }
}
