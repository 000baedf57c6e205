//! What needs attention.

use std::fmt;

use admin_api::Severity;

/// A part of the process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Component {
    /// The process and its servers.
    Server,
    /// Elections.
    HaTracker,
    /// The store of the elections.
    Store,
    /// Gossip.
    Memberlist,
    /// Two stores.
    MultiKv,
    /// Overrides of single tenants.
    RuntimeConfig,
    /// The senders.
    Senders,
    /// The backend of this name.
    Downstream(String),
}

/// Something that needs attention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) severity: Severity,
    pub(crate) component: Component,
    /// A sentence without its full stop. It can hold text from outside.
    pub(crate) what: String,
    /// Unix ms.
    pub(crate) since_ms: i64,
    /// What to do about it; likewise.
    pub(crate) remedy: String,
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::HaTracker => "ha-tracker",
            Self::Store => "kv-store",
            Self::Memberlist => "memberlist",
            Self::MultiKv => "multi-kv",
            Self::RuntimeConfig => "runtime-config",
            Self::Senders => "senders",
            Self::Downstream(name) => return write!(f, "downstream {name}"),
        })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}.", self.what, self.remedy)
    }
}
