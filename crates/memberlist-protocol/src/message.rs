//! What members send one another, as types. How they are written is the codec's business.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

/// Most bytes of a node's metadata, by the protocol.
pub const MAX_META: usize = 512;

/// An IP address as it stands in messages: 4 or 16 bytes. The width is part of a node's identity for
/// Go's members (an IPv4 address in 16 bytes is *another* address than in 4), so it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Addr {
    /// 4 bytes.
    V4([u8; 4]),
    /// 16 bytes; IPv4 as `::ffff:a.b.c.d`.
    V16([u8; 16]),
}

impl Addr {
    /// Nothing unless there are 4 or 16 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes.len() {
            4 => Some(Self::V4(bytes.try_into().ok()?)),
            16 => Some(Self::V16(bytes.try_into().ok()?)),
            _ => None,
        }
    }

    /// The bytes as they are sent.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::V4(bytes) => bytes,
            Self::V16(bytes) => bytes,
        }
    }

    /// The address, an IPv4 one in 16 bytes as IPv4.
    pub fn ip(self) -> IpAddr {
        match self {
            Self::V4(bytes) => Ipv4Addr::from(bytes).into(),
            Self::V16(bytes) => Ipv6Addr::from(bytes).to_canonical(),
        }
    }

    /// With a port.
    pub fn socket(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(), port)
    }
}

/// Protocol versions that a node understands and speaks: `[pMin, pMax, pCur, dMin, dMax, dCur]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Vsn(pub [u8; 6]);

impl Vsn {
    /// What every Go member sends, and this crate speaks.
    pub const OURS: Self = Self([1, 5, 2, 0, 0, 0]);
}

/// A message between members, in a packet or a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Are you there?
    Ping(Ping),
    /// Ask that node whether it is there, for me.
    IndirectPing(IndirectPing),
    /// I am here, or the node that you asked me to ping is.
    Ack {
        /// Of the ping.
        seq_no: u32,
        /// Nothing in dskit's rings; nothing and no bytes are written differently.
        payload: Option<Bytes>,
    },
    /// The node that you asked me to ping has not answered me.
    Nack {
        /// Of the indirect ping.
        seq_no: u32,
    },
    /// A node did not answer.
    Suspect(Accusation),
    /// A node is here, and this is what it is.
    Alive(Alive),
    /// A node is dead, or, if it says so itself, leaves.
    Dead(Accusation),
    /// For what stands on the membership: here, an update of the key-value store.
    User(Bytes),
    /// What was wrong with a stream's request.
    Error(String),
}

/// Asks a node for an [`Message::Ack`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ping {
    /// Comes back in the answer.
    pub seq_no: u32,
    /// For whom it is; one with another name does not answer. Empty: for any.
    pub node: String,
    /// Where the answer goes; none in messages of old members.
    pub source: Option<Source>,
}

/// Asks a node to ping another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndirectPing {
    /// Comes back in the answer.
    pub seq_no: u32,
    /// The address to ping.
    pub target: Addr,
    /// The port to ping.
    pub port: u16,
    /// Who should be there.
    pub node: String,
    /// Whether a [`Message::Nack`] is wanted.
    pub nack: bool,
    /// Where the answer goes.
    pub source: Option<Source>,
}

/// Who asks, and where it expects the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its address.
    pub addr: Addr,
    /// Its port.
    pub port: u16,
    /// Its name.
    pub node: String,
}

/// What one node says of another: that it is suspected, or dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accusation {
    /// Of the accused, as the accuser knows it.
    pub incarnation: u32,
    /// The accused.
    pub node: String,
    /// The accuser. In [`Message::Dead`], the accused itself if it leaves.
    pub from: String,
}

/// What a node says of itself, and others repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alive {
    /// Grows with each thing that the node says of itself.
    pub incarnation: u32,
    /// Its name, unique in the ring.
    pub node: String,
    /// Where it is reached.
    pub addr: Addr,
    /// Where it is reached.
    pub port: u16,
    /// At most [`MAX_META`] bytes.
    pub meta: Bytes,
    /// Its versions.
    pub vsn: Vsn,
}

/// A node in an exchange of whole states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    /// What it says of itself.
    pub alive: Alive,
    /// What the sender takes it for.
    pub state: State,
}

/// What a node is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It answers.
    Alive = 0,
    /// It did not answer, and has some time to say that it is alive.
    Suspect = 1,
    /// It did not.
    Dead = 2,
    /// It has said that it goes.
    Left = 3,
}

/// All that a node knows, in an exchange of whole states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushPull {
    /// Whether the sender joins with this.
    pub join: bool,
    /// All nodes, the sender included.
    pub nodes: Vec<NodeState>,
    /// Of what stands on the membership: here, of the key-value store.
    pub user_state: Bytes,
}
