//! What is taken from another member at most.

/// How often compounds and compressed messages may be inside one another. Members nest twice: a
/// compound within a compressed message.
pub const MAX_DEPTH: usize = 8;

/// Most bytes of a node's name.
pub const MAX_NAME: usize = 1024;

/// Most bytes of one message body of fields, compressed and user messages aside.
pub(super) const MAX_OBJECT: usize = 64 << 10;

/// What is taken from one connection at most. The defaults fit rings of Mimir's of any size seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a packet's payload. Members keep packets to 10 MiB, but for a single larger message.
    pub packet: usize,
    /// Messages in a packet. Members send at most 255.
    pub messages: usize,
    /// Bytes of a stream, before decompression.
    pub stream: usize,
    /// Bytes that all compressed messages of a packet or stream may become together.
    pub inflated: usize,
    /// Nodes in an exchange of states.
    pub nodes: usize,
    /// Bytes of the user state in an exchange of states.
    pub user_state: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet: 16 << 20,
            messages: 4096,
            stream: 64 << 20,
            inflated: 64 << 20,
            nodes: 1 << 16,
            user_state: 64 << 20,
        }
    }
}
