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
    Snappy(Bytes),
    /// The same, in the memory that it was read into.
    Arrived(Message),
    /// Itself: gRPC.
    Plain(Message),
}

impl PushBody {
    /// In memory of about its own size, if it is to wait.
    pub(crate) fn kept(self) -> Self {
        match self {
            Self::Arrived(block) => Self::Snappy(block.keep()),
            body => body,
        }
    }

    /// Bytes as it is.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Snappy(block) => block.len() as u64,
            Self::Arrived(message) | Self::Plain(message) => message.bytes().len() as u64,
        }
    }

    /// How large the message is, or can be.
    pub(crate) fn plausible_size(&self) -> u64 {
        match self {
            Self::Snappy(block) => remote_write::plausible_size(block),
            Self::Arrived(block) => remote_write::plausible_size(block.bytes()),
            Self::Plain(message) => message.bytes().len() as u64,
        }
    }
}
