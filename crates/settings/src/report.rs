//! Mistakes in settings, as reported by the crate that uses them.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::setting::Setting;
use crate::units::format_duration;

/// What is wrong and what to do, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The setting has no value, but another setting requires one.
    Missing(String),
    /// The value breaks a rule.
    Bad(String),
    /// The section cannot work; the text says which setting to change.
    Unusable(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(text) | Self::Bad(text) | Self::Unusable(text) => f.write_str(text),
        }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The setting, relative to its section; with `[index]` for an item of a list; empty for the
    /// section as a whole.
    pub setting: String,
    /// The settings whose values conflict, first the one to change; a single one, or none for the
    /// section as a whole.
    pub concerns: Vec<&'static str>,
    /// What is wrong.
    pub problem: Problem,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.setting.is_empty() {
            write!(f, "{}: ", self.setting)?;
        }
        self.problem.fmt(f)
    }
}

/// All mistakes of a section, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// What the application knows about the section that is checked. All names are relative to it.
pub trait Context {
    /// The setting as the application calls it.
    fn path(&self, setting: &str) -> String;

    /// Where its value is set, such as a file and a line.
    fn origin(&self, setting: &str) -> String;

    /// Whether its value was already refused, so that a rule would check another value.
    fn is_refused(&self, setting: &str) -> bool;
}

/// Collects the mistakes of one section. Without a context, names are relative and nothing is said
/// about where a value comes from.
#[derive(Default)]
pub struct Report<'a> {
    context: Option<&'a dyn Context>,
    mistakes: Vec<Mistake>,
    warnings: Vec<String>,
}

impl<'a> Report<'a> {
    /// A report on a section of an application's configuration.
    pub fn new(context: &'a dyn Context) -> Self {
        Self {
            context: Some(context),
            ..Self::default()
        }
    }

    /// Mistakes and warnings, in the order of their report.
    pub fn into_parts(self) -> (Vec<Mistake>, Vec<String>) {
        (self.mistakes, self.warnings)
    }

    /// Without the warnings.
    ///
    /// # Errors
    /// All mistakes, if there are any.
    pub fn into_result(self) -> Result<(), Mistakes> {
        match self.mistakes.is_empty() {
            true => Ok(()),
            false => Err(Mistakes(self.mistakes)),
        }
    }

    /// The value of `setting` breaks a rule.
    pub fn bad(&mut self, setting: &'static str, problem: impl Into<String>) {
        self.bad_together(&[setting], problem);
    }

    /// An item of the list `setting` breaks a rule.
    pub fn bad_item(&mut self, setting: &'static str, index: usize, problem: impl Into<String>) {
        self.mistakes.push(Mistake {
            setting: format!("{setting}[{index}]"),
            concerns: vec![setting],
            problem: Problem::Bad(problem.into()),
        });
    }

    /// The values of `settings` conflict. The problem is reported for the first one.
    pub fn bad_together(&mut self, settings: &[&'static str], problem: impl Into<String>) {
        self.mistakes.push(Mistake {
            setting: settings.first().copied().unwrap_or_default().to_owned(),
            concerns: settings.to_vec(),
            problem: Problem::Bad(problem.into()),
        });
    }

    /// `setting` has no value and needs one.
    pub fn missing(&mut self, setting: &'static str, problem: impl Into<String>) {
        self.mistakes.push(Mistake {
            setting: setting.to_owned(),
            concerns: vec![setting],
            problem: Problem::Missing(problem.into()),
        });
    }

    /// The section cannot work.
    pub fn unusable(&mut self, problem: impl Into<String>) {
        self.mistakes.push(Mistake {
            setting: String::new(),
            concerns: Vec::new(),
            problem: Problem::Unusable(problem.into()),
        });
    }

    /// A complete sentence about a configuration that works, but probably not as intended.
    pub fn warn(&mut self, sentence: impl Into<String>) {
        self.warnings.push(sentence.into());
    }

    /// The name of `setting` in a text.
    pub fn path(&self, setting: &str) -> String {
        self.context
            .map_or_else(|| setting.to_owned(), |context| context.path(setting))
    }

    /// `setting`, its value, and where that was set.
    pub fn described(&self, setting: &str, value: impl fmt::Display) -> String {
        match self.context {
            Some(context) => format!("{setting} {value} ({})", context.origin(setting)),
            None => format!("{setting} {value}"),
        }
    }

    /// ` (file:line)`, where `setting` was set; empty without a context.
    pub fn set_at(&self, setting: &str) -> String {
        self.context
            .map(|context| format!(" ({})", context.origin(setting)))
            .unwrap_or_default()
    }

    /// Whether none of the values of `settings` was refused.
    pub fn accepted(&self, settings: &[&str]) -> bool {
        settings.iter().all(|setting| {
            !self
                .context
                .is_some_and(|context| context.is_refused(setting))
                && !self
                    .mistakes
                    .iter()
                    .any(|mistake| mistake.setting == *setting)
        })
    }

    /// Whether there are no mistakes so far.
    pub fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// A text must not be longer than `most` bytes.
    pub fn at_most_bytes(&mut self, setting: &'static str, text: &str, most: usize) {
        if text.len() > most {
            let problem = format!("got {} bytes; must be at most {most}", text.len());
            self.bad(setting, problem);
        }
    }

    /// A duration must be in a range.
    pub fn duration(
        &mut self,
        setting: &'static str,
        value: Duration,
        range: RangeInclusive<Duration>,
    ) {
        if !range.contains(&value) {
            let problem = format!(
                "got {}; must be from {} to {}",
                format_duration(value),
                format_duration(*range.start()),
                format_duration(*range.end())
            );
            self.bad(setting, problem);
        }
    }

    /// A value must not be 0 or empty if its row refuses that.
    pub fn nonzero(&mut self, row: &Setting, is_zero: bool) {
        if row.nonzero && is_zero && self.accepted(&[row.path]) {
            self.bad(row.path, format!("must be {}", row.expected()));
        }
    }

    /// A duration must not be zero.
    pub fn more_than_zero(&mut self, setting: &'static str, value: Duration) {
        if value.is_zero() {
            self.bad(setting, "got 0s; must be more than 0");
        }
    }

    /// Two settings must be set together. Each is a name and whether it is set.
    pub fn pair(&mut self, one: (&'static str, bool), other: (&'static str, bool)) {
        let (present, missing) = match (one.1, other.1) {
            (true, false) => (one.0, other.0),
            (false, true) => (other.0, one.0),
            _ => return,
        };
        let problem = format!("is set without {}; set both", self.path(missing));
        self.bad(present, problem);
    }
}
