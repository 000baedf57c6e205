//! What an attack did.

use std::fmt::Write as _;
use std::time::Duration;

use super::{HealthyReport, Size, Usage};

/// Memory is back when no more than this is left over what was before, in hundredths of it …
const LEFT_PERCENT: u64 = 20;
/// … and bytes: threads, caches and statistics that a process of a few megabytes has once.
const LEFT_BYTES: u64 = 16 << 20;
/// What the connections of an attack may have in buffers of their own, bytes.
const READ_AHEAD: u64 = 64 << 20;
/// A healthy client's p99 may be this many times what it is alone, or what it is meanwhile at a
/// distributor on the same machine that is not attacked …
const SLOWER: u32 = 5;
/// … but no less than this: below it is one turn of the scheduler.
const NOISE: Duration = Duration::from_millis(4);

/// What an attack did to the distributor.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Before it.
    pub before: Usage,
    /// Afterwards, when memory was back or had long been expected to be.
    pub after: Usage,
    /// The most resident memory during it, bytes.
    pub peak: u64,
    /// The healthy client alone.
    pub quiet: HealthyReport,
    /// The healthy client beside the attack.
    pub beside: HealthyReport,
    /// A client of a distributor on the same machine that is not attacked, meanwhile.
    pub elsewhere: Option<HealthyReport>,
    /// Acknowledged samples that are not stored.
    pub lost: usize,
    /// Samples stored more often than they were sent.
    pub doubled: usize,
    most_growth: Option<u64>,
    facts: Vec<(String, String)>,
    problems: Vec<String>,
}

impl Outcome {
    pub(super) fn is_back(before: u64, after: u64) -> bool {
        after <= before + before * LEFT_PERCENT / 100 + LEFT_BYTES
    }

    /// Something worth knowing.
    pub fn fact(&mut self, name: &str, value: impl Into<String>) {
        self.facts.push((name.to_owned(), value.into()));
    }

    /// Something that has to be so.
    pub fn demand(&mut self, is_so: bool, problem: impl FnOnce() -> String) {
        if !is_so {
            self.problems.push(problem());
        }
    }

    /// Pushes may hold `limit` bytes, and connections read ahead.
    pub fn allow_pushes(&mut self, limit: u64) {
        self.allow_growth(limit + READ_AHEAD);
    }

    /// The process may grow by so many bytes during the attack.
    pub fn allow_growth(&mut self, bytes: u64) {
        self.most_growth = Some(bytes);
    }

    /// What the healthy client's p99 is compared with.
    fn reference(&self) -> Duration {
        let elsewhere = self.elsewhere.as_ref().map(|report| report.percentile(99));
        self.quiet.percentile(99).max(elsewhere.unwrap_or_default())
    }

    /// All that is wrong; nothing if the attack was held. Times are judged at full size alone.
    pub fn problems(&self, size: Size) -> Vec<String> {
        let mut problems = self.problems.clone();
        let grown = self.peak.saturating_sub(self.before.resident);
        if let Some(most) = self.most_growth
            && grown > most
        {
            problems.push(format!(
                "held {} more than before, over the {} that are allowed",
                megabytes(grown),
                megabytes(most)
            ));
        }
        if !Self::is_back(self.before.resident, self.after.resident) {
            problems.push(format!(
                "holds {} afterwards, {} before",
                megabytes(self.after.resident),
                megabytes(self.before.resident)
            ));
        }
        if self.lost + self.doubled > 0 {
            problems.push(format!(
                "of the healthy client's samples {} are lost and {} doubled",
                self.lost, self.doubled
            ));
        }
        let most = self.reference().max(NOISE) * SLOWER;
        let p99 = self.beside.percentile(99);
        if size == Size::Full && p99 > most {
            problems.push(format!(
                "the healthy client's p99 is {p99:.1?}, over {most:.1?}"
            ));
        }
        problems
    }
}

/// A table of outcomes, in Markdown.
pub fn table(rows: &[(&str, Outcome)], size: Size) -> String {
    let mut text = String::from(
        "| attack | memory before | most | after | CPU | p50 alone | beside | p99 alone | elsewhere | beside | refused | lost | doubled | verdict |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n",
    );
    for (name, outcome) in rows {
        let cpu = outcome.after.cpu.saturating_sub(outcome.before.cpu);
        let verdict = match outcome.problems(size).as_slice() {
            [] => "held".to_owned(),
            problems => format!("**{}**", problems.join("; ")),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {:.1} s | {:.1?} | {:.1?} | {:.1?} | {:.1?} | {:.1?} | {} | {} | {} | {verdict} |",
            megabytes(outcome.before.resident),
            megabytes(outcome.peak),
            megabytes(outcome.after.resident),
            cpu.as_secs_f64(),
            outcome.quiet.percentile(50),
            outcome.beside.percentile(50),
            outcome.quiet.percentile(99),
            outcome
                .elsewhere
                .as_ref()
                .map_or(Duration::ZERO, |report| report.percentile(99)),
            outcome.beside.percentile(99),
            outcome.beside.refused.values().sum::<usize>(),
            outcome.lost,
            outcome.doubled,
        );
    }
    for (name, outcome) in rows {
        for (fact, value) in &outcome.facts {
            let _ = writeln!(text, "{name}: {fact}: {value}");
        }
    }
    text
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told() {
        let mut outcome = Outcome {
            before: Usage {
                resident: 100 << 20,
                ..Usage::default()
            },
            after: Usage {
                resident: 136 << 20,
                ..Usage::default()
            },
            peak: 300 << 20,
            ..Outcome::default()
        };
        outcome.allow_growth(200 << 20);
        outcome.demand(true, || unreachable!());
        assert_eq!(outcome.problems(Size::Full), Vec::<String>::new());
        outcome.after.resident += 1 << 20;
        outcome.peak += 1 << 20;
        outcome.lost = 1;
        outcome.demand(false, || "wrong".to_owned());
        assert_eq!(outcome.problems(Size::Short).len(), 4);
    }
}
