//! `/` and `/services`: what needs attention.

use serde::{Deserialize, Serialize};

/// `/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Each condition as one text.
    pub attention: Vec<String>,
    /// What needs attention, the worst first.
    pub conditions: Vec<Condition>,
    /// What there is.
    pub pages: Vec<PageLink>,
}

/// A page that there is.
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
    /// What it is doing, for people.
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
    /// Something is wrong that has not cost samples yet, or costs those of single senders. What a
    /// newer version says besides is read as this.
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
