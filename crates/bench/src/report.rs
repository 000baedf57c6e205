//! What was measured, as markdown and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

/// What a ratio should be.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Time over the reference's, at most.
    AtMost(f64),
    /// The reference's time over ours, at least.
    AtLeastTimesFaster(f64),
}

/// A time beside its reference.
#[derive(Debug, Clone, Serialize)]
pub struct Timing {
    /// What does the work, as `remote write`.
    pub section: &'static str,
    /// Input, as `2.0, 1,000 series`.
    pub case: String,
    /// What was done.
    pub ours: &'static str,
    /// Median nanoseconds of one call.
    pub ours_ns: f64,
    /// What it is compared with.
    pub reference: &'static str,
    /// Median nanoseconds of one call.
    pub reference_ns: f64,
    /// Median over the rounds of ours / reference.
    pub ratio: f64,
    /// Goal, if there is one.
    pub target: Option<Target>,
}

impl Timing {
    fn is_met(&self) -> Option<bool> {
        Some(match self.target? {
            Target::AtMost(limit) => self.ratio <= limit,
            Target::AtLeastTimesFaster(times) => 1.0 / self.ratio >= times,
        })
    }

    fn ratio_text(&self) -> String {
        match self.target {
            Some(Target::AtLeastTimesFaster(_)) => format!("{:.1} × faster", 1.0 / self.ratio),
            _ => format!("{:.2} ×", self.ratio),
        }
    }

    fn target_text(&self) -> String {
        match self.target {
            None => String::new(),
            Some(Target::AtMost(limit)) => format!("≤ {limit} ×"),
            Some(Target::AtLeastTimesFaster(times)) => format!("≥ {times} × faster"),
        }
    }
}

/// A number that should not depend on the size of the input.
#[derive(Debug, Clone, Serialize)]
pub struct Constant {
    /// What does the work, as `allocations`.
    pub section: &'static str,
    /// What was done.
    pub case: String,
    /// Size of the input and what was counted.
    pub counts: Vec<(u64, u64)>,
}

/// A number that stands for itself.
#[derive(Debug, Clone, Serialize)]
pub struct Number {
    /// What does the work.
    pub section: &'static str,
    /// What was measured.
    pub what: String,
    /// How much, in `unit`.
    pub value: f64,
    /// Unit of `value`.
    pub unit: &'static str,
    /// Goal, if there is one.
    pub target: Option<Target>,
}

impl Number {
    fn target_and_met(&self) -> (String, &'static str) {
        let unit = self.unit;
        let (text, met) = match self.target {
            None => return (String::new(), ""),
            Some(Target::AtMost(limit)) => (format!("≤ {limit} {unit}"), self.value <= limit),
            Some(Target::AtLeastTimesFaster(limit)) => {
                (format!("≥ {limit} {unit}"), self.value >= limit)
            }
        };
        (text, if met { "yes" } else { "**no**" })
    }

    fn value_text(&self) -> String {
        let value = if self.value >= 100.0 {
            thousands(self.value.round() as u64)
        } else {
            format!("{:.2}", self.value)
        };
        format!("{value} {}", self.unit)
    }
}

/// Everything that was measured.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// In the order of measuring.
    pub timings: Vec<Timing>,
    /// In the order of measuring.
    pub numbers: Vec<Number>,
    /// In the order of counting.
    pub constants: Vec<Constant>,
}

impl Report {
    /// Tables for people.
    pub fn markdown(&self) -> String {
        let mut out = String::from(
            "| section | input | measured | time | compared with | time | ratio | target | met |\n\
             |---|---|---|---:|---|---:|---:|---:|---|\n",
        );
        for timing in &self.timings {
            let met = match timing.is_met() {
                None => "",
                Some(true) => "yes",
                Some(false) => "**no**",
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {met} |",
                timing.section,
                timing.case,
                timing.ours,
                time_text(timing.ours_ns),
                timing.reference,
                time_text(timing.reference_ns),
                timing.ratio_text(),
                timing.target_text(),
            );
        }
        if !self.numbers.is_empty() {
            out.push_str(
                "\n| section | measured | value | target | met |\n|---|---|---:|---:|---|\n",
            );
        }
        for number in &self.numbers {
            let (target, met) = number.target_and_met();
            let _ = writeln!(
                out,
                "| {} | {} | {} | {target} | {met} |",
                number.section,
                number.what,
                number.value_text(),
            );
        }
        if !self.constants.is_empty() {
            out.push_str(
                "\n| section | measured | series: count | constant |\n|---|---|---|---|\n",
            );
        }
        for constant in &self.constants {
            let counts: Vec<String> = constant
                .counts
                .iter()
                .map(|(size, count)| format!("{}: {count}", thousands(*size)))
                .collect();
            let is_constant = constant
                .counts
                .windows(2)
                .all(|pair| pair[0].1 == pair[1].1);
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} |",
                constant.section,
                constant.case,
                counts.join(" · "),
                if is_constant { "yes" } else { "**no**" },
            );
        }
        out
    }
}

fn time_text(nanoseconds: f64) -> String {
    if nanoseconds < 1_000.0 {
        format!("{nanoseconds:.0} ns")
    } else if nanoseconds < 1_000_000.0 {
        format!("{:.1} µs", nanoseconds / 1e3)
    } else {
        format!("{:.2} ms", nanoseconds / 1e6)
    }
}

/// `12345` as `12,345`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(thousands(7), "7");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(time_text(12.3), "12 ns");
        assert_eq!(time_text(60_120.0), "60.1 µs");
        assert_eq!(time_text(2_500_000.0), "2.50 ms");
    }

    #[test]
    fn a_missed_target_stands_out() {
        let timing = Timing {
            section: "s",
            case: "c".into(),
            ours: "scan",
            ours_ns: 30.0,
            reference: "decode",
            reference_ns: 10.0,
            ratio: 3.0,
            target: Some(Target::AtMost(2.5)),
        };
        let report = Report {
            timings: vec![timing],
            ..Report::default()
        };
        let row = "| s | c | scan | 30 ns | decode | 10 ns | 3.00 × | ≤ 2.5 × | **no** |";
        assert!(report.markdown().contains(row), "{}", report.markdown());
    }
}
