//! Who sent a request, and what the log says of its answer.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use http::request::Parts;
use http::{HeaderName, HeaderValue};

use super::refusals::Occurrence;
use super::{PushAnswer, Pusher};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Who sent a request.
#[derive(Debug, Default)]
pub(crate) struct Sender {
    /// Empty until known to be valid.
    pub(crate) tenant: String,
    /// The other end of its connection.
    pub(crate) address: Option<SocketAddr>,
    traceparent: Option<HeaderValue>,
}

impl Sender {
    /// Without the tenant.
    pub(crate) fn of(parts: &Parts) -> Self {
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Self {
            tenant: String::new(),
            address: address.map(|ConnectInfo(address)| *address),
            traceparent: parts.headers.get(TRACEPARENT).cloned(),
        }
    }

    pub(crate) fn client(&self) -> Option<IpAddr> {
        self.address.map(|address| address.ip().to_canonical())
    }

    /// The second part of the W3C header.
    fn trace_id(&self) -> Option<&str> {
        self.traceparent.as_ref()?.to_str().ok()?.split('-').nth(1)
    }
}

impl Pusher {
    /// Writes what was wrong with a request into the log, as far as it is not there yet; to be called
    /// with each answer.
    pub(crate) fn note(&self, sender: &Sender, answer: &PushAnswer) {
        let status = answer.status.as_u16();
        if let Some(cause) = answer.cause {
            let occurrence = Occurrence {
                tenant: &sender.tenant,
                cause,
                count: 1,
                status,
                message: &answer.message,
                client: sender.client(),
            };
            self.refusals
                .note(self.tenants.is_known(&sender.tenant), &occurrence);
        } else if answer.status.is_server_error()
            && let Some(suppressed) = self.complaints.admit()
        {
            tracing::warn!(
                tenant = sender.tenant,
                trace_id = sender.trace_id(),
                status,
                suppressed,
                "push requests fail: {}",
                answer.message
            );
        }
    }
}
