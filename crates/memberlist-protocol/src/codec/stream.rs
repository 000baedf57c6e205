//! Streams: one message each way, read as it arrives, since nothing says where it ends but itself.

use std::mem;

use bytes::{Buf as _, Bytes, BytesMut};

use super::body::{self, COMPRESS, ENCRYPT, Header, PUSH_PULL, USER};
use super::compression::{self, Compression};
use super::error::{Error, Rejected};
use super::frame::STREAM;
use super::limits::{MAX_DEPTH, MAX_OBJECT};
use super::msgpack::{Fault, Reader};
use super::seal;
use super::wire::{Front, Wire, read_label};
use crate::message::{Message, NodeState, PushPull};

/// Bytes in front of an encrypted message: type and length.
const SEAL_HEADER: usize = 5;

/// Most bytes of an encrypted message.
const MAX_SEALED: usize = 20 << 20;

/// The two sides of a stream, which write different things in front of their message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who connects: writes the kind of connection and the label first.
    Initiator,
    /// Who accepts: writes its answer and nothing in front.
    Responder,
}

/// What a stream carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamMessage {
    /// All that the sender knows.
    PushPull {
        /// What it knows.
        state: PushPull,
        /// Nodes that were left out: Go's members would refuse the whole exchange for some of them.
        rejected: Rejected,
    },
    /// A ping, an ack, a user message or an error.
    Message(Message),
}

/// Reads the message of one side of a stream.
#[derive(Debug)]
pub struct StreamReader {
    wire: Wire,
    /// The label in front; what is encrypted is bound to it.
    label: Bytes,
    stage: Stage,
    buffer: BytesMut,
    /// Bytes of the buffer below which another attempt is pointless.
    needed: usize,
    /// Bytes received in all.
    received: usize,
    /// Whether the buffer was inflated or decrypted: then nothing follows it.
    is_whole: bool,
    was_sealed: bool,
    depth_left: usize,
    inflatable: usize,
}

#[derive(Debug)]
enum Stage {
    Label,
    Message,
    Nodes {
        header: Header,
        nodes: Vec<NodeState>,
        rejected: Rejected,
    },
    UserState {
        header: Header,
        nodes: Vec<NodeState>,
        rejected: Rejected,
    },
    User {
        length: usize,
    },
    Done,
}

/// What one step of reading came to.
enum Step {
    Next(Stage),
    Done(StreamMessage),
    /// This many bytes of the buffer are needed.
    Short(usize),
}

impl StreamReader {
    /// A reader of what `from` writes, after the first byte of the connection.
    pub fn new(from: Side, wire: Wire) -> Self {
        let stage = match from {
            Side::Initiator => Stage::Label,
            Side::Responder => Stage::Message,
        };
        Self {
            inflatable: wire.limits.inflated,
            label: Bytes::copy_from_slice(wire.label.as_bytes()),
            wire,
            stage,
            buffer: BytesMut::new(),
            needed: 1,
            received: 0,
            is_whole: false,
            was_sealed: false,
            depth_left: MAX_DEPTH,
        }
    }

    /// Takes bytes as they arrive, in pieces of any size; returns the message when it is complete.
    /// What follows it is ignored.
    ///
    /// # Errors
    /// When the stream is refused; nothing more can be read from it.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<StreamMessage>, Error> {
        self.received = self.received.saturating_add(bytes.len());
        if self.received > self.wire.limits.stream {
            return Err(too_large(
                "a stream",
                self.received,
                self.wire.limits.stream,
            ));
        }
        self.buffer.extend_from_slice(bytes);
        while self.buffer.len() >= self.needed {
            match self.step()? {
                Step::Next(stage) => {
                    self.stage = stage;
                    self.needed = 0;
                }
                Step::Done(message) => {
                    self.needed = usize::MAX;
                    return Ok(Some(message));
                }
                Step::Short(_) if self.is_whole => {
                    return Err(Error::Truncated { what: "a stream" });
                }
                Step::Short(needed) => self.needed = needed.max(self.buffer.len() + 1),
            }
        }
        Ok(None)
    }

    /// Whether nothing was received: a connection that ends so carried nothing.
    pub fn is_empty(&self) -> bool {
        self.received == 0
    }

    fn step(&mut self) -> Result<Step, Error> {
        match mem::replace(&mut self.stage, Stage::Done) {
            Stage::Label => self.read_label(),
            Stage::Message => self.read_message(),
            Stage::Nodes {
                header,
                nodes,
                rejected,
            } => self.read_node(header, nodes, rejected),
            Stage::UserState {
                header,
                nodes,
                rejected,
            } => {
                let length = header.user_state as usize;
                if self.buffer.len() < length {
                    self.stage = Stage::UserState {
                        header,
                        nodes,
                        rejected,
                    };
                    return Ok(Step::Short(length));
                }
                let state = PushPull {
                    join: header.join,
                    nodes,
                    user_state: self.buffer.split_to(length).freeze(),
                };
                Ok(Step::Done(StreamMessage::PushPull { state, rejected }))
            }
            Stage::User { length } => {
                if self.buffer.len() < length {
                    self.stage = Stage::User { length };
                    return Ok(Step::Short(length));
                }
                let bytes = self.buffer.split_to(length).freeze();
                Ok(Step::Done(StreamMessage::Message(Message::User(bytes))))
            }
            Stage::Done => Ok(Step::Short(usize::MAX)),
        }
    }

    fn read_label(&mut self) -> Result<Step, Error> {
        let Front::Label(label, length) = read_label(&self.buffer)? else {
            self.stage = Stage::Label;
            return Ok(Step::Short(0));
        };
        self.wire.check_label(label)?;
        self.label = Bytes::copy_from_slice(label);
        self.buffer.advance(length);
        Ok(Step::Next(Stage::Message))
    }

    fn read_message(&mut self) -> Result<Step, Error> {
        let Some(&kind) = self.buffer.first() else {
            self.stage = Stage::Message;
            return Ok(Step::Short(1));
        };
        if kind == ENCRYPT {
            return self.open_seal();
        }
        if !self.wire.keys.is_empty() && !self.was_sealed {
            return Err(Error::Unsealed);
        }
        match kind {
            COMPRESS => self.inflate(),
            PUSH_PULL => self.object("an exchange of states", body::read_header, Self::begin),
            USER => self.object("a user message", body::read_user_header, |this, length| {
                let length = length as usize;
                this.check("a user message", length, this.wire.limits.user_state)?;
                Ok(Step::Next(Stage::User { length }))
            }),
            body::PING => self.object("a ping", body::read_ping, |_, ping| {
                Ok(done(Message::Ping(ping)))
            }),
            body::ACK => self.object("an ack", body::read_ack, |_, ack| Ok(done(ack))),
            body::ERROR => self.object("an error", body::read_error, |_, text| {
                Ok(done(Message::Error(text)))
            }),
            1..=13 | body::LABEL => Err(Error::Misplaced {
                kind,
                place: "stream",
            }),
            other => Err(Error::UnknownType(other)),
        }
    }

    /// Reads the body of a message at the front of the buffer, and goes on with it.
    fn object<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, Fault>,
        then: impl FnOnce(&mut Self, T) -> Result<Step, Error>,
    ) -> Result<Step, Error> {
        let mut reader = Reader::new(self.buffer.get(1..).unwrap_or_default());
        match read(&mut reader) {
            Ok(value) => {
                let length = 1 + reader.position();
                self.buffer.advance(length);
                then(self, value)
            }
            Err(fault) => {
                self.stage = Stage::Message;
                short(what, fault, 1, MAX_OBJECT)
            }
        }
    }

    fn begin(&mut self, header: Header) -> Result<Step, Error> {
        let limits = self.wire.limits;
        self.check("the number of nodes", header.nodes as usize, limits.nodes)?;
        let user_state = header.user_state as usize;
        self.check("the user state", user_state, limits.user_state)?;
        Ok(Step::Next(Stage::Nodes {
            header,
            nodes: Vec::new(),
            rejected: Rejected::default(),
        }))
    }

    fn read_node(
        &mut self,
        header: Header,
        mut nodes: Vec<NodeState>,
        mut rejected: Rejected,
    ) -> Result<Step, Error> {
        const WHAT: &str = "a node";
        if nodes.len() + rejected.count >= header.nodes as usize {
            return Ok(Step::Next(Stage::UserState {
                header,
                nodes,
                rejected,
            }));
        }
        let mut reader = Reader::new(&self.buffer);
        match body::read_node(&mut reader) {
            Ok(node) => {
                match node.checked() {
                    Ok(node) => nodes.push(node),
                    Err(why) => rejected.add(Error::Malformed { what: WHAT, why }),
                }
                let length = reader.position();
                self.buffer.advance(length);
                Ok(Step::Next(Stage::Nodes {
                    header,
                    nodes,
                    rejected,
                }))
            }
            Err(fault) => {
                self.stage = Stage::Nodes {
                    header,
                    nodes,
                    rejected,
                };
                short(WHAT, fault, 0, MAX_OBJECT)
            }
        }
    }

    fn inflate(&mut self) -> Result<Step, Error> {
        const WHAT: &str = "a compressed message";
        let body = self.buffer.get(1..).unwrap_or_default();
        match compression::read(&mut Reader::new(body)) {
            Ok(compressed) => {
                let inflated = compressed.inflate(self.inflatable)?;
                self.inflatable -= inflated.len();
                self.enter(inflated)
            }
            Err(fault) => {
                self.stage = Stage::Message;
                short(WHAT, fault, 1, self.wire.limits.stream)
            }
        }
    }

    fn open_seal(&mut self) -> Result<Step, Error> {
        let Some((header, sealed)) = self.buffer.split_first_chunk::<SEAL_HEADER>() else {
            self.stage = Stage::Message;
            return Ok(Step::Short(SEAL_HEADER));
        };
        let [_, length @ ..] = *header;
        let length = u32::from_be_bytes(length) as usize;
        self.check("an encrypted message", length, MAX_SEALED)?;
        let Some(sealed) = sealed.get(..length) else {
            self.stage = Stage::Message;
            return Ok(Step::Short(SEAL_HEADER + length));
        };
        let aad = [header.as_slice(), &self.label].concat();
        let opened = seal::open(&self.wire.keys, &aad, sealed)?;
        self.was_sealed = true;
        self.enter(opened)
    }

    /// Goes on with what was inside of a message.
    fn enter(&mut self, inner: Vec<u8>) -> Result<Step, Error> {
        self.depth_left = self.depth_left.checked_sub(1).ok_or(Error::TooDeep)?;
        self.buffer = BytesMut::from(Bytes::from(inner));
        self.is_whole = true;
        Ok(Step::Next(Stage::Message))
    }

    fn check(&self, what: &'static str, size: usize, limit: usize) -> Result<(), Error> {
        if size > limit {
            return Err(too_large(what, size, limit));
        }
        Ok(())
    }
}

fn done(message: Message) -> Step {
    Step::Done(StreamMessage::Message(message))
}

/// What a fault in an object means that may still be arriving, `offset` bytes into the buffer.
fn short(what: &'static str, fault: Fault, offset: usize, limit: usize) -> Result<Step, Error> {
    match fault {
        Fault::Short { needed } if needed > limit => Err(too_large(what, needed, limit)),
        Fault::Short { needed } => Ok(Step::Short(needed + offset)),
        Fault::Invalid(why) => Err(Error::Malformed { what, why }),
    }
}

fn too_large(what: &'static str, size: usize, limit: usize) -> Error {
    Error::TooLarge {
        what,
        size: size as u64,
        limit: limit as u64,
    }
}

/// An exchange of states as a message, for [`stream`].
///
/// # Errors
/// When the user state or the number of nodes does not fit its field.
pub fn push_pull(state: &PushPull) -> Result<Vec<u8>, Error> {
    let header = Header {
        join: state.join,
        nodes: fits("the number of nodes", state.nodes.len())?,
        user_state: fits("the user state", state.user_state.len())?,
    };
    let mut out = Vec::with_capacity(64 + 128 * state.nodes.len() + state.user_state.len());
    body::write_header(header, &mut out);
    for node in &state.nodes {
        body::write_node(node, &mut out);
    }
    out.extend_from_slice(&state.user_state);
    Ok(out)
}

/// Any other message as it stands in a stream, for [`stream`].
///
/// # Errors
/// When a user message does not fit its length field.
pub fn stream_message(message: &Message) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    match message {
        Message::User(bytes) => {
            body::write_user_header(fits("a user message", bytes.len())?, &mut out);
            out.extend_from_slice(bytes);
        }
        other => body::write(other, &mut out),
    }
    Ok(out)
}

/// The lengths are signed in Go.
fn fits(what: &'static str, size: usize) -> Result<u32, Error> {
    match i32::try_from(size) {
        Ok(_) => Ok(size as u32),
        Err(_) => Err(Error::Unsendable {
            what,
            size,
            rule: "it must be below 2 GiB",
        }),
    }
}

/// How a stream's message is sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct StreamOptions {
    /// Compress, if that makes it shorter.
    pub compression: Option<Compression>,
    /// A nonce that was never used before with the ring's first key. Only used with keys.
    pub nonce: [u8; 12],
}

/// All that `side` writes: its message, and what stands in front of it.
///
/// # Errors
/// When the ring has a key and the message is too long for it.
pub fn stream(
    side: Side,
    message: Vec<u8>,
    wire: &Wire,
    options: StreamOptions,
) -> Result<Bytes, Error> {
    let compressed = options
        .compression
        .and_then(|compression| compression::deflate(&message, compression));
    let mut message = compressed.unwrap_or(message);
    if let Some(key) = wire.keys.first() {
        let length = seal::sealed_length(message.len());
        if length > MAX_SEALED {
            return Err(Error::Unsendable {
                what: "an encrypted message",
                size: length,
                rule: "it may have 20 MiB",
            });
        }
        let mut out = vec![ENCRYPT];
        out.extend_from_slice(&(length as u32).to_be_bytes());
        let aad = [&out, wire.label.as_bytes()].concat();
        out.append(&mut key.seal(options.nonce, &aad, &message)?);
        message = out;
    }
    if side == Side::Responder {
        return Ok(message.into());
    }
    let mut out = Vec::with_capacity(1 + wire.label.overhead() + message.len());
    out.push(STREAM);
    wire.label.write(&mut out);
    out.append(&mut message);
    Ok(out.into())
}
