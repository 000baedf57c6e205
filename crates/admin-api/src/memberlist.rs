//! `/memberlist`: the gossip cluster as one member sees it.

use serde::{Deserialize, Serialize};

/// `/memberlist`. `Entries` serialises as a list: there may be very many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memberlist<Entries = Vec<Entry>> {
    /// Whether gossip is used; if not, the rest is empty.
    pub enabled: bool,
    /// Members that have left or died are listed until they are removed.
    pub members: Vec<Member>,
    /// More about it; `None` if gossip is not used.
    #[serde(flatten)]
    pub gossip: Option<Gossip>,
    /// The entries of the store.
    pub store: Entries,
}

/// State of this member's gossip, besides the lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gossip {
    /// Who speaks which protocol, if the members do not speak the same.
    #[serde(default)]
    pub disagreement: Option<String>,
    /// Keys of other components in the ring, which this member does not keep.
    #[serde(default)]
    pub other_keys: Vec<OtherKey>,
    /// The protocol in use, `chitchat` or `memberlist`; empty if an older version does not say.
    #[serde(default)]
    pub protocol: String,
    /// How it was chosen, as the rest of a sentence.
    #[serde(default)]
    pub protocol_chosen: String,
    /// Whether the member has caught up with the others.
    pub ready: bool,
    /// The last messages received, the oldest first; `None` if they are not kept.
    pub received_messages: Option<Vec<Message>>,
    /// The last messages sent.
    pub sent_messages: Option<Vec<Message>>,
    /// What the member is waiting for before it is ready.
    pub waiting_for: Option<String>,
}

/// A member of the gossip cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// IP address and port.
    pub address: String,
    /// Entries that it publishes.
    #[serde(default)]
    pub entries: u64,
    /// Time since its last heartbeat, ms.
    #[serde(default)]
    pub heartbeat_age_ms: u64,
    /// Its name.
    pub name: String,
    /// Whether it is the member that serves this page.
    #[serde(rename = "self")]
    pub is_self: bool,
    /// Its state.
    pub state: MemberState,
}

/// State of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// It has not caught up yet.
    Joining,
    /// It is active.
    Active,
    /// It is about to leave.
    Leaving,
    /// It has left.
    Left,
    /// It has been silent for too long.
    Dead,
    /// A state of a newer version: never written, read from any other text.
    #[serde(other)]
    Unknown,
}

/// An entry of the store, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// How its value is encoded.
    #[serde(default)]
    pub codec: String,
    /// Whether it is a tombstone.
    pub deleted: bool,
    /// Its key.
    pub key: String,
    /// Bytes of its value.
    #[serde(default)]
    pub size: u64,
    /// When it changed last.
    #[serde(default)]
    pub updated: String,
    /// Counts the changes that this member has seen.
    #[serde(default)]
    pub version: u64,
}

/// A key of another component in a ring of Mimir's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OtherKey {
    /// Time since something was said of it, ms.
    pub age_ms: u64,
    /// How its value is encoded.
    pub codec: String,
    /// Whether it was said to be deleted.
    pub deleted: bool,
    /// The key.
    pub key: String,
    /// Bytes of what was said last: of its value, or of a change.
    pub size: u64,
}

/// A gossip message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Counts messages.
    pub id: u64,
    /// Keys of the entries in it.
    pub keys: Vec<String>,
    /// Its kind, such as `syn`.
    pub kind: String,
    /// The other member's address.
    pub peer: String,
    /// Bytes on the wire.
    pub size: u64,
    /// When it was sent or received.
    pub time: String,
}
