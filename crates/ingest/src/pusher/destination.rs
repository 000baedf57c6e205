//! Where something is forwarded to.

use http::HeaderMap;
use remote_write::Version;
use tokio::time::Instant;

/// Where to, and until when, something is forwarded.
#[derive(Clone, Copy)]
pub(crate) struct Destination<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) version: Version,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) deadline: Instant,
}
