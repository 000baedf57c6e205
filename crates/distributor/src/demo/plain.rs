//! The demo as lines, where there is no terminal: one a second, and one per event.

use std::io::{self, Write};
use std::time::Duration;

use super::board::{Board, Kind, clock, thousands};

const EVERY: Duration = Duration::from_secs(1);

/// Writes lines, each flushed.
pub(super) struct Lines<W> {
    out: W,
    next: Duration,
    events: usize,
}

impl<W: Write> Lines<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            next: Duration::ZERO,
            events: 0,
        }
    }

    /// Writes the events that are new, and one line if a second has passed since the last one.
    pub(super) fn show(&mut self, board: &Board) -> io::Result<()> {
        if self.next.is_zero() {
            writeln!(
                self.out,
                "HA distributor demo; who is elected: {}\n",
                board.page
            )?;
        }
        let new = (board.logged - self.events).min(board.events.len());
        self.events = board.logged;
        for event in board.events.range(board.events.len() - new..) {
            let kind = match event.kind {
                Kind::Step => "--",
                Kind::Election => "**",
                Kind::Trouble => "!!",
            };
            writeln!(self.out, "{} {kind} {}", clock(event.at), event.text)?;
        }
        if board.elapsed >= self.next {
            while self.next <= board.elapsed {
                self.next += EVERY;
            }
            writeln!(self.out, "{}", status(board))?;
        }
        self.out.flush()
    }
}

fn status(board: &Board) -> String {
    let counts = board.sink.counts;
    let gap = if board.is_gap_open() {
        format!(" (open: {:.1} s)", board.sink.silence.as_secs_f64())
    } else {
        String::new()
    };
    format!(
        "{}    elected {} | accepted {}/s | deduplicated {}/s | failovers {} | sink: stored {}, \
         doubled {}, gaps {}{gap}",
        clock(board.elapsed),
        board.elected().unwrap_or("nobody"),
        board.accepted.now(),
        board.deduplicated.now(),
        board.failovers,
        thousands(counts.stored),
        counts.doubled(),
        board.sink.gaps.len(),
    )
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::demo::script::Script;

    #[test]
    fn one_line_a_second_and_one_per_event() {
        let mut board = Board::new(Script::FULL, "http://…/ha_tracker".to_owned());
        let mut out = Vec::new();
        let mut lines = Lines::new(&mut out);
        for tenths in 0..=15 {
            board.elapsed = Duration::from_millis(100 * tenths);
            lines.show(&board).unwrap();
        }
        board.log(Kind::Election, "prometheus-0 is elected".to_owned());
        lines.show(&board).unwrap();
        board.sink.counts.stored = 1600;
        board.sink.silence = Duration::from_millis(2340);
        board.elapsed = Duration::from_secs(2);
        lines.show(&board).unwrap();
        expect![[r#"
            HA distributor demo; who is elected: http://…/ha_tracker

            00:00    elected nobody | accepted 0/s | deduplicated 0/s | failovers 0 | sink: stored 0, doubled 0, gaps 0
            00:01    elected nobody | accepted 0/s | deduplicated 0/s | failovers 0 | sink: stored 0, doubled 0, gaps 0
            00:01 ** prometheus-0 is elected
            00:02    elected nobody | accepted 0/s | deduplicated 0/s | failovers 0 | sink: stored 1,600, doubled 0, gaps 0 (open: 2.3 s)
        "#]]
        .assert_eq(&String::from_utf8(out).unwrap());
    }
}
