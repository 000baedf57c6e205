//! What a run is told as: a row for each step, and a line at the end.

use std::fmt::Write as _;
use std::time::Duration;

use crate::{Account, Cluster};

/// What happened in a step.
#[derive(Debug, Clone)]
pub struct Row {
    /// What it was.
    pub name: String,
    /// How long it took.
    pub took: Duration,
    /// How often a replica was elected, over all clusters.
    pub elections: usize,
    /// How often one should have been.
    pub expected_elections: usize,
    /// What became of the samples.
    pub account: Account,
    /// What was wrong besides.
    pub problem: Option<String>,
}

/// All rows.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// In the order of time.
    pub rows: Vec<Row>,
    /// What was wrong with the run as a whole.
    pub problems: Vec<String>,
}

const NAMED: usize = 5;

impl Row {
    /// All that is wrong.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.elections != self.expected_elections {
            problems.push(format!(
                "{} elections instead of {}",
                self.elections, self.expected_elections
            ));
        }
        let account = &self.account;
        for (what, ticks) in [("lost", &account.lost), ("doubled", &account.doubled)] {
            if !ticks.is_empty() {
                problems.push(format!("{what}: {}", named(ticks)));
            }
        }
        problems.extend(self.problem.clone());
        problems
    }

    fn line(&self) -> String {
        let problems = self.problems();
        let verdict = match problems.is_empty() {
            true => "ok".to_owned(),
            false => format!("FAILED: {}", problems.join("; ")),
        };
        let account = &self.account;
        format!(
            "{:<31} {:>6.1}s {:>9} {:>7} {:>8} {:>7} {:>5} {:>7} {:>6} {:>7.1}ms  {verdict}",
            self.name,
            self.took.as_secs_f64(),
            self.elections,
            account.sent,
            account.accepted,
            account.deduplicated,
            account.lost.len(),
            account.doubled.len(),
            account.resent,
            account.p99.as_secs_f64() * 1000.0,
        )
    }
}

fn named(ticks: &[(u64, Cluster)]) -> String {
    let mut text = String::new();
    for (tick, cluster) in ticks.iter().take(NAMED) {
        let _ = write!(text, "{}/{} at {tick}, ", cluster.tenant, cluster.name);
    }
    match ticks.len().saturating_sub(NAMED) {
        0 => text.trim_end_matches(", ").to_owned(),
        more => format!("{text}and {more} more"),
    }
}

impl Report {
    /// The names of the columns.
    pub fn header() -> String {
        format!(
            "{:<31} {:>7} {:>9} {:>7} {:>8} {:>7} {:>5} {:>7} {:>6} {:>9}  verdict",
            "step",
            "took",
            "elections",
            "sent",
            "accepted",
            "deduped",
            "lost",
            "doubled",
            "resent",
            "push p99",
        )
    }

    /// Says a row at once, and keeps it.
    pub(crate) fn push(&mut self, row: Row) {
        println!("{}", row.line());
        self.rows.push(row);
    }

    /// Whether everything was as it must be.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty() && self.rows.iter().all(|row| row.problems().is_empty())
    }

    /// The line at the end, and what was wrong with the run as a whole before it.
    pub fn summary(&self) -> String {
        let sum =
            |of: fn(&Account) -> u64| -> u64 { self.rows.iter().map(|row| of(&row.account)).sum() };
        let took: Duration = self.rows.iter().map(|row| row.took).sum();
        let elections: usize = self.rows.iter().map(|row| row.elections).sum();
        let mut text = String::new();
        for problem in &self.problems {
            let _ = writeln!(text, "FAILED: {problem}");
        }
        let resent = sum(|account| account.resent);
        if resent > 0 {
            let _ = writeln!(
                text,
                "resent: {resent} samples arrived once more, identical, because their senders \
                 lost the first answer with its connection"
            );
        }
        let _ = write!(
            text,
            "{}: {} samples sent, {} accepted, {} deduplicated, {} lost, {} doubled, {} elections, \
             {:.1} s",
            if self.is_ok() { "PASSED" } else { "FAILED" },
            sum(|account| account.sent),
            sum(|account| account.accepted),
            sum(|account| account.deduplicated),
            sum(|account| account.lost.len() as u64),
            sum(|account| account.doubled.len() as u64),
            elections,
            took.as_secs_f64(),
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            name: "1 multi".to_owned(),
            took: Duration::from_millis(1234),
            elections: 0,
            expected_elections: 0,
            account: Account {
                sent: 10,
                accepted: 5,
                deduplicated: 5,
                p99: Duration::from_micros(1500),
                ..Account::default()
            },
            problem: None,
        }
    }

    #[test]
    fn columns_stand_below_their_names() {
        let (header, line) = (Report::header(), row().line());
        for (name, value) in [("took", "1.2s"), ("sent", "10"), ("p99", "1.5ms")] {
            let end = |text: &str, word: &str| text.find(word).unwrap() + word.len();
            assert_eq!(end(&header, name), end(&line, value), "{header}\n{line}");
        }
        assert_eq!(header.find("verdict"), line.find("ok"));
    }

    #[test]
    fn any_problem_fails_the_run() {
        let cluster = Cluster {
            tenant: "t".to_owned(),
            name: "c".to_owned(),
        };
        let mut lost = row();
        lost.account.lost = (0..7).map(|tick| (tick, cluster.clone())).collect();
        let mut elected = row();
        elected.elections = 1;
        let mut problem = row();
        problem.problem = Some("no".to_owned());
        for (row, text) in [
            (
                lost,
                "lost: t/c at 0, t/c at 1, t/c at 2, t/c at 3, t/c at 4, and 2 more",
            ),
            (elected, "1 elections instead of 0"),
            (problem, "no"),
        ] {
            assert!(row.line().ends_with(&format!("FAILED: {text}")), "{row:?}");
            let report = Report {
                rows: vec![row],
                problems: Vec::new(),
            };
            assert!(!report.is_ok());
            assert!(report.summary().starts_with("FAILED: "));
        }
        let report = Report {
            rows: vec![row()],
            problems: Vec::new(),
        };
        let expected = "PASSED: 10 samples sent, 5 accepted, 5 deduplicated, 0 lost, 0 doubled, \
                        0 elections, 1.2 s";
        assert_eq!(report.summary(), expected);
    }
}
