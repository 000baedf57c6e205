//! The push path: bytes in, one scan, the tracker's answers, bytes out to the downstreams.
//!
//! A server makes a [`PushRequest`] of what it receives, and what its protocol sends of the
//! [`PushAnswer`]. In between, [`Pusher::push`] decompresses the body, scans it once, asks the
//! [`HaTracker`](ha_tracker::HaTracker) about each HA cluster in it, removes what its replicas that are
//! not elected sent, and forwards the rest to all [`Downstreams`]. The answer comes after theirs:
//! nothing that was acknowledged is only in this process's memory.
//!
//! It knows HTTP as the protocol of remote write, hence of the downstreams, but no server; and its
//! configuration as plain data ([`IngestConfig`], [`PushLimits`]), not where that comes from.
//!
//! ```
//! use ingest::{Downstreams, IngestConfig, PushBody, PushLimits, PushRequest, Pusher};
//! use remote_write::Version;
//!
//! # async fn push(body: bytes::Bytes) -> Result<(), ingest::Rejection> {
//! let config = IngestConfig { max_recv_msg_size: 10 << 20, ..IngestConfig::default() };
//! let mut registry = prometheus_client::registry::Registry::default();
//! let pusher = Pusher::new(&config, None, Downstreams::default(), &mut registry);
//! let answer = pusher
//!     .push(PushRequest {
//!         tenant: "team-a",
//!         client: None,
//!         version: Version::V1,
//!         limits: &PushLimits::default(),
//!         is_lossless: false,
//!         body: PushBody::Snappy(body.into()),
//!         headers: http::HeaderMap::new(),
//!         held: pusher.hold(),
//!         in_flight: pusher.enter()?,
//!     })
//!     .await;
//! println!("{}: {}", answer.status(), answer.message());
//! # Ok(())
//! # }
//! ```

mod answer;
mod bounds;
mod buffers;
mod cause;
mod codec;
mod config;
mod counters;
mod deliveries;
mod downstream;
mod expand;
mod fleet;
mod gaps;
mod instance;
mod instance_limit;
mod judge;
mod lossless;
mod mixed;
mod pusher;
mod refusals;
mod request;
mod retry_after;
mod sender;
mod tenancy;
mod tenants;
mod unlabelled;

pub use answer::{DownstreamAnswer, Outcome, PushAnswer, Rejection, Written};
pub use bounds::{Arrival, Held, InFlightRequest};
pub use buffers::Message;
pub use cause::Cause;
pub use config::{
    BasicAuth, ClientTls, DownstreamConfig, IngestConfig, InstanceLimits, PushLimits,
    RESERVED_HEADERS, RateStrategy,
};
pub use downstream::{
    DownstreamError, DownstreamOutage, Downstreams, WRITTEN_EXEMPLARS, WRITTEN_HISTOGRAMS,
    WRITTEN_SAMPLES, WriteContext,
};
pub use expand::{Compression, message_too_large};
pub use fleet::Fleet;
pub use instance_limit::InstanceLimit;
pub use lossless::{Failovers, HeldBody};
pub use pusher::Pusher;
pub use refusals::Refusal;
pub use request::{Block, PushBody, PushRequest};
pub use retry_after::{RETRY_ATTEMPT, RetryAfterHeader};
pub use sender::Sender;
pub use tenancy::{TENANT, Tenancy};
