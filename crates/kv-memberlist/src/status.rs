//! The status of a member and its cluster, for admin pages.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::Protocol;

/// The protocol that a member speaks, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProtocolInUse {
    /// Never [`Protocol::Auto`].
    pub protocol: Protocol,
    /// How it was chosen.
    pub chosen: Chosen,
}

/// How a member's protocol was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    /// By this setting: `protocol`, or one that only one of the protocols has.
    Setting(&'static str),
    /// By `auto`, since `join_members` names no other member.
    NoneNamed,
    /// By `auto`, since no member of memberlist has answered.
    NoneAnswered,
    /// By `auto`, since the member at this address speaks it.
    Answered(SocketAddr),
}

impl fmt::Display for Chosen {
    /// As the rest of a sentence that begins with the protocol.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting("protocol") => f.write_str("set by memberlist.protocol"),
            Self::Setting(other) => write!(
                f,
                "chosen by memberlist.protocol: auto, because memberlist.{other} is set"
            ),
            Self::NoneNamed => f.write_str(
                "chosen by memberlist.protocol: auto, because memberlist.join_members is empty",
            ),
            Self::NoneAnswered => f.write_str(
                "chosen by memberlist.protocol: auto, because no member of memberlist's protocol has \
                 answered",
            ),
            Self::Answered(address) => write!(
                f,
                "chosen by memberlist.protocol: auto, because {address} speaks it"
            ),
        }
    }
}

/// What is known of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its advertised address.
    pub address: SocketAddr,
    /// Its state, as far as this member knows.
    pub state: MemberState,
    /// Time since its heartbeat last increased; zero for this member itself. In a ring of
    /// memberlist, which has no heartbeats: time since it did not answer or left; zero while it
    /// answers.
    pub heartbeat_age: Duration,
    /// Entries that it publishes.
    pub entries: usize,
    /// Whether it is this member.
    pub is_self: bool,
}

/// The state of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberState {
    /// It has started and does not have all entries of the cluster yet.
    Joining,
    /// It is active.
    Active,
    /// It is handing over its entries.
    Leaving,
    /// It has left after handing over its entries.
    Left,
    /// Its heartbeat has not been seen for too long.
    Dead,
}

impl MemberState {
    /// The state in one lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            MemberState::Joining => "joining",
            MemberState::Active => "active",
            MemberState::Leaving => "leaving",
            MemberState::Left => "left",
            MemberState::Dead => "dead",
        }
    }

    /// Whether the entries of a member in this state will stay.
    pub(crate) fn holds(self) -> bool {
        matches!(self, MemberState::Active | MemberState::Joining)
    }
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryInfo {
    /// The key.
    pub key: String,
    /// Id of the codec of its value.
    pub codec: &'static str,
    /// Grows by one with each change that this member has seen; each member counts for itself.
    pub version: u64,
    /// Encoded size of the value, bytes; 0 if deleted.
    pub size: usize,
    /// When the value was written, by the writer's clock, unix milliseconds.
    pub updated_ms: i64,
    /// Whether this is a tombstone.
    pub deleted: bool,
}

/// What is known of a key of another component in a ring of Mimir's, which this member does not keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherKey {
    /// The key.
    pub key: String,
    /// Its codec's name.
    pub codec: String,
    /// Bytes of what was said of it last: of its whole value, or of a change.
    pub size: usize,
    /// Whether it was said to be deleted.
    pub deleted: bool,
    /// Time since then.
    pub age: Duration,
}

/// One message of the history, which has only those that carry entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Number of the message; grows by one with each message of either direction.
    pub id: u64,
    /// When it was sent or received, unix milliseconds.
    pub at_ms: i64,
    /// Who it was sent to or received from.
    pub peer: SocketAddr,
    /// What it is: `syn`, `syn-ack`, `ack` or `bad-cluster`; in a ring of memberlist `packet` or
    /// `state`.
    pub kind: &'static str,
    /// Size of the message before it was compressed and encrypted, bytes.
    pub size: usize,
    /// The keys that it brought a value of, or a deletion.
    pub keys: Vec<String>,
}

/// Messages of both directions, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// What this member sent.
    pub sent: Vec<HistoryEntry>,
    /// What it received.
    pub received: Vec<HistoryEntry>,
}
