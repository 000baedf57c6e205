//! Who sent a request.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Who sent a request.
#[derive(Debug, Default)]
pub struct Sender {
    /// Empty until known to be valid.
    pub tenant: String,
    /// The other end of its connection.
    pub address: Option<SocketAddr>,
    traceparent: Option<HeaderValue>,
}

impl Sender {
    /// Without the tenant.
    pub fn new(address: Option<SocketAddr>, headers: &HeaderMap) -> Self {
        Self {
            tenant: String::new(),
            address,
            traceparent: headers.get(TRACEPARENT).cloned(),
        }
    }

    /// The host that the request comes from.
    pub fn client(&self) -> Option<IpAddr> {
        self.address.map(|address| address.ip().to_canonical())
    }

    /// The second part of the W3C header.
    pub(crate) fn trace_id(&self) -> Option<&str> {
        self.traceparent.as_ref()?.to_str().ok()?.split('-').nth(1)
    }
}
