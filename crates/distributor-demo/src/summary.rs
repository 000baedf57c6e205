//! How the demo ended: the table, the verdict, the exit status.

use std::fmt::{self, Write as _};
use std::time::Duration;

use remote_write_testkit::{Counts, Gap};

use crate::dashboard::{SenderRow, thousands};
use crate::script::{Mode, SERIES};

/// A failover, as measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failover {
    /// The elected sender that was stopped.
    pub(crate) stopped: &'static str,
    /// From there to the election of the other.
    pub(crate) took: Duration,
}

impl fmt::Display for Failover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        write!(f, "{seconds:.1} s after {} stopped", self.stopped)
    }
}

/// Everything that counts in the end.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    pub(crate) mode: Mode,
    pub(crate) senders: Vec<SenderRow>,
    /// Changes of the elected replica.
    pub(crate) failovers: u64,
    /// The last of them.
    pub(crate) failover: Option<Failover>,
    /// The replica elected in the end.
    pub(crate) elected: Option<String>,
    pub(crate) counts: Counts,
    pub(crate) gaps: Vec<Gap>,
    /// Samples acknowledged as stored that the sink does not have.
    pub(crate) lost: u64,
    pub(crate) ending: Ending,
}

/// Status when the user or a signal ended it: 128 and the number of SIGINT, as of shells.
pub(crate) const INTERRUPTED: u8 = 130;

/// How far it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// To its end.
    Complete,
    /// The user or a signal ended it.
    Interrupted,
    /// Something broke, or did not happen.
    Broken(String),
}

impl Summary {
    /// What is wrong; empty if all is right.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |is_wrong: bool, text: String| {
            if is_wrong {
                faults.push(text);
            }
        };
        let refused: u64 = self.senders.iter().map(|row| row.counts.refused).sum();
        let samples = |number: u64| format!("{} samples", thousands(number));
        fault(
            self.counts.doubled() > 0,
            format!("{} were doubled", samples(self.counts.doubled())),
        );
        fault(
            self.lost > 0,
            format!("{} were acknowledged but lost", samples(self.lost)),
        );
        fault(
            self.counts.labelled > 0,
            format!("{} kept their replica label", samples(self.counts.labelled)),
        );
        fault(refused > 0, format!("{} were refused", samples(refused)));
        let retries: u64 = self.senders.iter().map(|row| row.counts.retries).sum();
        let sent_again = retries * SERIES as u64;
        fault(
            self.counts.repeated > sent_again,
            format!(
                "{} arrived twice, but {sent_again} were sent twice",
                samples(self.counts.repeated)
            ),
        );
        match &self.ending {
            Ending::Interrupted => {}
            Ending::Broken(why) => fault(true, why.clone()),
            Ending::Complete => {
                fault(self.counts.stored == 0, "nothing was stored".to_owned());
                fault(
                    self.failovers != 1,
                    format!("there were {} failovers instead of 1", self.failovers),
                );
                fault(
                    self.mode == Mode::Lossless && !self.gaps.is_empty(),
                    format!("gaps at the sink: {}", self.gaps.len()),
                );
            }
        }
        faults
    }

    /// 0 only if it ran to its end and nothing is wrong; 130 if that can not be told.
    pub(crate) fn exit_code(&self) -> u8 {
        if !self.faults().is_empty() {
            1
        } else if self.ending == Ending::Interrupted {
            INTERRUPTED
        } else {
            0
        }
    }

    /// The table and the verdict.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |title: &str, values: &[String], note: &str| {
            let cells: String = values.iter().map(|value| format!("{value:>16}")).collect();
            let row = format!("{title:<28}{cells}  {note}");
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}", row.trim_end());
        };
        let each = |value: &dyn Fn(&SenderRow) -> String| -> Vec<String> {
            self.senders.iter().map(value).collect()
        };
        line("sender", &each(&|row| row.name.to_owned()), "");
        line("remote write", &each(&|row| row.protocol.to_owned()), "");
        line("samples sent", &each(&|row| thousands(row.counts.sent)), "");
        line(
            "  accepted",
            &each(&|row| thousands(row.counts.accepted)),
            "",
        );
        let deduplicated = each(&|row| thousands(row.counts.deduplicated));
        line("  deduplicated", &deduplicated, "");
        if self.senders.iter().any(|row| row.counts.refused > 0) {
            line("  refused", &each(&|row| thousands(row.counts.refused)), "");
        }
        if self.senders.iter().any(|row| row.counts.unanswered() > 0) {
            let unanswered = each(&|row| thousands(row.counts.unanswered()));
            line("  no answer when stopped", &unanswered, "");
        }
        if self.senders.iter().any(|row| row.counts.retries > 0) {
            let retries = each(&|row| thousands(row.counts.retries));
            line("requests sent again", &retries, "");
        }
        line("", &[], "");
        let one = |number: u64| [thousands(number)];
        let gap_lengths: Vec<String> = self
            .gaps
            .iter()
            .map(|gap| format!("{:.1} s ({} scrapes)", gap.seconds(), gap.scrapes))
            .collect();
        line("stored at the sink", &one(self.counts.stored), "");
        line("doubled", &one(self.counts.doubled()), "");
        line("lost", &one(self.lost), "acknowledged, but not at the sink");
        if self.counts.repeated > 0 {
            let note = "no answer from the killed distributor: sent again, the same";
            line("  came twice", &one(self.counts.repeated), note);
        }
        let elected = match &self.elected {
            Some(elected) => format!("{elected} is elected now"),
            None => String::new(),
        };
        line("failovers", &one(self.failovers), &elected);
        let mut cost = "";
        if let Some(Failover { stopped, took }) = &self.failover {
            let took = [format!("{:.1} s", took.as_secs_f64())];
            let note = format!("from the stop of {stopped} to the election");
            line("  took", &took, &note);
            cost = match (self.mode, self.gaps.len()) {
                (_, 0) => "what the failover cost",
                // The only gap that the script makes.
                (Mode::Classic, 1) => ": what the failover cost",
                _ => "",
            };
        }
        line(
            "gaps",
            &one(self.gaps.len() as u64),
            &format!("{}{cost}", gap_lengths.join(", ")),
        );
        line("", &[], "");
        let faults = self.faults();
        let verdict = if !faults.is_empty() {
            format!("FAILED: {}.", faults.join("; "))
        } else if self.ending == Ending::Interrupted {
            "Interrupted before the end; no problem so far.".to_owned()
        } else {
            "OK: every accepted sample is stored, exactly once.".to_owned()
        };
        line(&verdict, &[], "");
        text
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use remote_write_testkit::ReplicaCounts;

    use super::*;

    fn good() -> Summary {
        let row = |name, protocol, [sent, accepted, deduplicated]: [u64; 3]| SenderRow {
            name,
            protocol,
            is_running: false,
            counts: ReplicaCounts {
                sent,
                accepted,
                deduplicated,
                ..Default::default()
            },
        };
        Summary {
            mode: Mode::Classic,
            senders: vec![
                row("prometheus-0", "1.0", [12_800, 8000, 4800]),
                row("prometheus-1", "2.0", [24_000, 11_200, 12_800]),
            ],
            failovers: 1,
            failover: None,
            elected: Some("prometheus-1".to_owned()),
            counts: Counts {
                stored: 19_200,
                ..Default::default()
            },
            gaps: vec![Gap {
                after_ms: 1000,
                until_ms: 5300,
                scrapes: 16,
            }],
            lost: 0,
            ending: Ending::Complete,
        }
    }

    #[test]
    fn a_good_end() {
        assert_eq!(good().faults(), Vec::<String>::new());
        assert_eq!(good().exit_code(), 0);
        expect![[r#"
            sender                          prometheus-0    prometheus-1
            remote write                             1.0             2.0
            samples sent                          12,800          24,000
              accepted                             8,000          11,200
              deduplicated                         4,800          12,800

            stored at the sink                    19,200
            doubled                                    0
            lost                                       0  acknowledged, but not at the sink
            failovers                                  1  prometheus-1 is elected now
            gaps                                       1  4.3 s (16 scrapes)

            OK: every accepted sample is stored, exactly once.
        "#]]
        .assert_eq(&good().text());
    }

    #[test]
    fn a_failover_is_told_as_measured() {
        let mut summary = good();
        summary.failover = Some(Failover {
            stopped: "prometheus-0",
            took: Duration::from_millis(4120),
        });
        let text = summary.text();
        for note in [
            "4.1 s  from the stop of prometheus-0 to the election\n",
            "4.3 s (16 scrapes): what the failover cost\n",
        ] {
            assert!(text.contains(note), "{text}");
        }
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    }

    #[test]
    fn a_lossless_failover_leaves_no_gap() {
        let mut summary = good();
        summary.mode = Mode::Lossless;
        assert_eq!(summary.faults(), ["gaps at the sink: 1"]);
        summary.gaps.clear();
        summary.failover = Some(Failover {
            stopped: "prometheus-0",
            took: Duration::from_millis(7120),
        });
        assert_eq!(summary.exit_code(), 0);
        let text = summary.text();
        let line = "gaps                                       0  what the failover cost\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn an_interrupted_one_has_no_verdict() {
        let mut summary = good();
        summary.ending = Ending::Interrupted;
        summary.failovers = 0;
        assert_eq!(summary.exit_code(), 130);
        assert!(summary.text().contains("Interrupted before the end"));
        summary.lost = 1;
        assert_eq!(summary.exit_code(), 1);
    }

    #[test]
    fn each_fault_is_named() {
        let with = |change: &dyn Fn(&mut Summary)| {
            let mut summary = good();
            change(&mut summary);
            assert!(summary.text().contains("FAILED: "));
            assert_eq!(summary.exit_code(), 1);
            summary.faults().join("; ")
        };
        let texts = [
            with(&|summary| summary.counts.overlapping = 1200),
            with(&|summary| summary.counts.repeated = 2),
            with(&|summary| summary.lost = 3),
            with(&|summary| summary.counts.labelled = 4),
            with(&|summary| summary.senders[0].counts.refused = 200),
            with(&|summary| summary.failovers = 0),
            with(&|summary| summary.counts.stored = 0),
            with(&|summary| summary.ending = Ending::Broken("the sink ended".to_owned())),
        ];
        expect![[r#"
            1,200 samples were doubled
            2 samples arrived twice, but 0 were sent twice
            3 samples were acknowledged but lost
            4 samples kept their replica label
            200 samples were refused
            there were 0 failovers instead of 1
            nothing was stored
            the sink ended"#]]
        .assert_eq(&texts.join("\n"));
    }
}
