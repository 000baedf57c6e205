//! What a downstream is sent.

use bytes::Bytes;
use http::HeaderMap;
use remote_write::Version;
use tokio::time::Instant;

/// What is sent on.
#[derive(Debug)]
pub(crate) struct Forward<'a> {
    /// A snappy block.
    pub(crate) body: Bytes,
    pub(crate) version: Version,
    pub(crate) tenant: &'a str,
    /// Headers of the incoming request.
    pub(crate) headers: &'a HeaderMap,
    pub(crate) deadline: Instant,
}
