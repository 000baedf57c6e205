//! `/` and `/services`: what needs attention.

use serde::{Deserialize, Serialize};

/// `/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Each condition as one text.
    pub attention: Vec<String>,
    /// Conditions that need attention, the worst first.
    pub conditions: Vec<Condition>,
    /// The pages.
    pub pages: Vec<PageLink>,
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageLink {
    /// What it shows.
    pub description: String,
    /// Where it is.
    pub path: String,
}

/// `/services`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// The parts of the process.
    pub services: Vec<Service>,
}

/// A part of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Where it is, or where it sends.
    pub address: Option<String>,
    /// What needs attention about it, the worst first.
    pub conditions: Vec<Condition>,
    /// Such as `ha-tracker`, or `downstream <name>`.
    pub name: String,
    /// Its state, for people.
    pub status: String,
}

/// Something that needs attention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// The part of the process, by the name of its [`Service`].
    pub component: String,
    /// What to do about it: sentences without the last full stop.
    pub remedy: String,
    /// How bad it is.
    pub severity: Severity,
    /// When it began.
    pub since: String,
    /// What is wrong: a sentence without its full stop.
    pub what: String,
}

/// How bad something is, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Samples are refused, lost or doubled now, or would not fail over.
    Critical,
    /// A problem that has not affected samples yet, or only those of single senders. Unknown values
    /// of a newer version are read as this.
    #[serde(other)]
    Warning,
}

impl Severity {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}
