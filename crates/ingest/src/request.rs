//! What is pushed.

use std::net::IpAddr;

use bytes::Bytes;
use remote_write::Version;

use crate::bounds::{Held, InFlightRequest};
use crate::buffers::Message;
use crate::config::PushLimits;

/// One push request, its headers understood and its body read.
#[derive(Debug)]
pub struct PushRequest<'a> {
    /// The tenant, valid by [`ha_tracker::validate_tenant`].
    pub tenant: &'a str,
    /// Where it comes from, for the log.
    pub client: Option<IpAddr>,
    /// Schema of the body.
    pub version: Version,
    /// What the tenant may at this moment.
    pub limits: &'a PushLimits,
    /// Whether failovers of the tenant's clusters are to lose nothing: `limits.ha_failover_mode` is
    /// lossless.
    pub is_lossless: bool,
    /// At most [`crate::IngestConfig::max_recv_msg_size`] bytes.
    pub body: PushBody,
    /// Headers that the downstream gets to see as well.
    pub headers: http::HeaderMap,
    /// What the body has been counted with as it arrived, by [`crate::Pusher::hold`].
    pub held: Held<'a>,
    /// Its place, taken by [`crate::Pusher::enter`] when the body was there.
    pub in_flight: InFlightRequest<'a>,
}

/// The protobuf message of a request, as it came.
#[derive(Debug)]
pub enum PushBody {
    /// A snappy block of it: remote write.
    Snappy(Block),
    /// Itself: gRPC.
    Plain(Message),
}

/// A snappy block, from `Bytes` or a [`Message`].
#[derive(Debug)]
pub struct Block(Memory);

#[derive(Debug)]
enum Memory {
    Own(Bytes),
    /// What it was read into, which may be much more than it needs.
    Arrived(Message),
}

impl Block {
    /// The block.
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            Memory::Own(bytes) => bytes,
            Memory::Arrived(message) => message.bytes(),
        }
    }

    /// To wait for something: in memory of about its own size.
    pub fn keep(self) -> Bytes {
        match self.0 {
            Memory::Own(bytes) => bytes,
            Memory::Arrived(message) => message.keep(),
        }
    }

    pub(crate) fn kept(self) -> Self {
        self.keep().into()
    }
}

impl From<Bytes> for Block {
    fn from(bytes: Bytes) -> Self {
        Self(Memory::Own(bytes))
    }
}

impl From<Message> for Block {
    fn from(message: Message) -> Self {
        Self(Memory::Arrived(message))
    }
}

impl PushBody {
    /// In memory of about its own size, if it is to wait.
    pub(crate) fn kept(self) -> Self {
        match self {
            Self::Snappy(block) => Self::Snappy(block.kept()),
            body => body,
        }
    }

    /// Bytes as it is.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Snappy(block) => block.bytes().len() as u64,
            Self::Plain(message) => message.bytes().len() as u64,
        }
    }

    /// How large the message is, or can be.
    pub(crate) fn plausible_size(&self) -> u64 {
        match self {
            Self::Snappy(block) => remote_write::plausible_size(block.bytes()),
            Self::Plain(message) => message.bytes().len() as u64,
        }
    }
}
