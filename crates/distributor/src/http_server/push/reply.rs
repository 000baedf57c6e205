//! The answer to a push request as HTTP has it.

use std::io::Write as _;

use admin::text;
use axum::body::Body;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use ingest::{WRITTEN_EXEMPLARS, WRITTEN_HISTOGRAMS, WRITTEN_SAMPLES, Written};

/// What is sent to a sender.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(super) written: Option<Written>,
    pub(super) retry_after: Option<u64>,
    pub(super) challenge: Option<HeaderValue>,
    /// Without the end of its line; empty if there is nothing to say.
    pub(super) message: String,
}

impl Reply {
    /// For a server that knows HTTP.
    pub(super) fn into_response(self) -> Response {
        let numbers = self.numbers();
        let mut response = if self.message.is_empty() {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = self.status;
            response
        } else {
            text(self.status, self.message)
        };
        let headers = response.headers_mut();
        for (name, number) in numbers.into_iter().flatten() {
            headers.insert(name, number.into());
        }
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }

    /// As the bytes of HTTP/1.1, with the same headers. The connection ends with it if it `is_last`.
    pub(crate) fn write(&self, out: &mut Vec<u8>, date: &str, is_last: bool) {
        let status = self.status;
        let reason = status.canonical_reason().unwrap_or("Unknown");
        // Writing to memory cannot fail.
        let _ = write!(out, "HTTP/1.1 {} {reason}\r\n", status.as_u16());
        for (name, number) in self.numbers().into_iter().flatten() {
            let _ = write!(out, "{name}: {number}\r\n");
        }
        if let Some(challenge) = &self.challenge {
            let _ = write!(out, "{WWW_AUTHENTICATE}: ");
            out.extend_from_slice(challenge.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if is_last {
            out.extend_from_slice(b"connection: close\r\n");
        }
        let _ = write!(out, "date: {date}\r\n");
        if status == StatusCode::NO_CONTENT {
            out.extend_from_slice(b"\r\n");
            return;
        }
        let message = &self.message;
        if message.is_empty() {
            out.extend_from_slice(b"content-length: 0\r\n\r\n");
            return;
        }
        let _ = write!(
            out,
            "content-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\r\n{message}\n",
            message.len() + 1,
        );
    }

    fn numbers(&self) -> [Option<(HeaderName, u64)>; 4] {
        let written = |name, count: fn(&Written) -> u64| {
            self.written.as_ref().map(|written| (name, count(written)))
        };
        [
            written(WRITTEN_SAMPLES, |written| written.samples),
            written(WRITTEN_HISTOGRAMS, |written| written.histograms),
            written(WRITTEN_EXEMPLARS, |written| written.exemplars),
            self.retry_after.map(|seconds| (RETRY_AFTER, seconds)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(reply: &Reply, is_last: bool) -> String {
        let mut out = Vec::new();
        reply.write(&mut out, "now", is_last);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn replies_as_bytes() {
        let mut reply = Reply {
            status: StatusCode::NO_CONTENT,
            written: Some(Written {
                samples: 3,
                ..Written::default()
            }),
            retry_after: None,
            challenge: None,
            message: String::new(),
        };
        assert_eq!(
            written(&reply, false),
            "HTTP/1.1 204 No Content\r\nx-prometheus-remote-write-samples-written: 3\r\n\
             x-prometheus-remote-write-histograms-written: 0\r\n\
             x-prometheus-remote-write-exemplars-written: 0\r\ndate: now\r\n\r\n"
        );
        reply.written = None;
        reply.status = StatusCode::OK;
        assert_eq!(
            written(&reply, true),
            "HTTP/1.1 200 OK\r\nconnection: close\r\ndate: now\r\ncontent-length: 0\r\n\r\n"
        );
        reply.status = StatusCode::SERVICE_UNAVAILABLE;
        reply.message = "wait".to_owned();
        reply.retry_after = Some(5);
        reply.challenge = Some(HeaderValue::from_static("Basic"));
        assert_eq!(
            written(&reply, false),
            "HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nwww-authenticate: Basic\r\n\
             date: now\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 5\r\n\r\nwait\n"
        );
    }

    #[tokio::test]
    async fn both_forms_have_the_same_headers() {
        let reply = || Reply {
            status: StatusCode::TOO_MANY_REQUESTS,
            written: Some(Written::default()),
            retry_after: Some(1),
            challenge: Some(HeaderValue::from_static("Basic")),
            message: "slow down".to_owned(),
        };
        let response = reply().into_response();
        let bytes = written(&reply(), false);
        for (name, value) in response.headers() {
            let line = format!("\r\n{name}: {}\r\n", value.to_str().unwrap());
            assert!(bytes.contains(&line), "{line:?} is not in {bytes:?}");
        }
        assert_eq!(bytes.matches("\r\n").count(), response.headers().len() + 4);
    }
}
