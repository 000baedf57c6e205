//! How connections are made.

use std::sync::Arc;
use std::time::Duration;

/// How long parts of a connection may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// Connecting, for a packet.
    pub(crate) dial: Duration,
    /// Writing a packet, and reading one.
    pub(crate) packet: Duration,
    /// Each direction of an exchange of states.
    pub(crate) stream: Duration,
    /// Waiting until a packet can be written.
    pub(crate) writer: Duration,
}

/// TLS of both sides.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) client: Arc<rustls::ClientConfig>,
    pub(crate) server: Arc<rustls::ServerConfig>,
}
