//! Requests to one Consul agent.
//!
//! consulrs's client is not used: it encodes keys twice, lets `..` leave a key's prefix, discards
//! the headers of a 404 (which have the index that a watch needs), and logs every request. What it
//! depends on needs OpenSSL's headers to be built.

use std::error::Error;
use std::time::Duration;

use kv_core::Failure;
use reqwest::header::HeaderValue;
use rustls::ClientConfig;

use crate::config::{ConfigError, ConsulConfig};
use crate::key;
use crate::request::Request;

/// Largest answer, bytes: a few hundred thousand keys. A larger one is an error, so that it cannot
/// use up memory.
const MAX_ANSWER: usize = 256 << 20;
/// Longest text of a refusal that is passed on, bytes.
const MAX_MESSAGE: usize = 512;
/// Attempts of a read that hangs, within the timeout of a call.
const READS_PER_CALL: u32 = 3;
/// How long an idle connection is kept.
const IDLE_CONNECTION: Duration = Duration::from_secs(60);

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consistency {
    /// Any server may answer.
    Stale,
    /// The leader's.
    Leader,
    /// The leader's, after it asked a quorum.
    Quorum,
}

/// A query that waits for changes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blocking {
    /// The index of what is known; changes have a larger one.
    pub(crate) index: u64,
    pub(crate) wait: Duration,
}

/// An agent's address, and how to talk to it.
pub(crate) struct Agent {
    http: reqwest::Client,
    /// Without a slash at the end.
    base: String,
    token: Option<HeaderValue>,
    pub(crate) timeout: Duration,
    pub(crate) consistent_reads: bool,
}

/// An answer with status 200 or 404.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Whether there is something under the key.
    pub(crate) found: bool,
    /// `X-Consul-Index`.
    pub(crate) index: Option<u64>,
    pub(crate) body: Vec<u8>,
}

/// Whether a request that failed may have had an effect that must not be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    Safe,
    Unsafe,
}

impl Agent {
    pub(crate) fn new(
        config: &ConsulConfig,
        tls: Option<ClientConfig>,
    ) -> Result<Self, ConfigError> {
        let base = config.base()?;
        if base.scheme() == "https" && tls.is_none() {
            let host = config.host.to_string();
            return Err(ConfigError::NoTls { host });
        }
        let token = config.token()?;
        let mut http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(config.http_client_timeout)
            .pool_idle_timeout(IDLE_CONNECTION);
        http = match tls {
            Some(tls) => http.tls_backend_preconfigured(tls),
            // Never used, but without it the builder needs a process-wide provider.
            None => http.tls_backend_preconfigured(no_tls()?),
        };
        Ok(Self {
            http: http.build()?,
            base: base.as_str().trim_end_matches('/').to_owned(),
            token,
            timeout: config.http_client_timeout,
            consistent_reads: config.consistent_reads,
        })
    }

    /// The agent's URL, for messages.
    pub(crate) fn url(&self) -> &str {
        &self.base
    }

    /// Sends the request once. The caller bounds the time.
    pub(crate) async fn ask(
        &self,
        request: Request,
        consistency: Consistency,
        blocking: Option<Blocking>,
        repeat: Repeat,
    ) -> Result<Answer, Failure> {
        // For other characters, versions of Consul differ about what is printable; for ASCII they
        // agree.
        let printable = request.key.is_ascii();
        let request = self.prepare(request, consistency, blocking);
        let sent = async {
            let mut response = request.send().await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await? {
                body.extend_from_slice(&chunk);
                if body.len() > MAX_ANSWER {
                    break;
                }
            }
            Ok((status, headers, body))
        };
        // A read that hangs may succeed on another connection. A write is not repeated, and a
        // blocking query has its own time limit.
        let timeout = match (repeat, blocking) {
            (Repeat::Safe, None) => self.timeout / READS_PER_CALL,
            _ => Duration::MAX,
        };
        let sent = tokio::time::timeout(timeout, sent).await.map_err(|_| {
            Failure::transient(format!("{}: no answer within {timeout:?}", self.base))
        })?;
        let (status, headers, body) = sent.map_err(|error: reqwest::Error| {
            let nothing_sent = error.is_connect();
            let text = self.describe(&error.without_url());
            if nothing_sent || repeat == Repeat::Safe {
                Failure::transient(text)
            } else {
                Failure::permanent(text)
            }
        })?;
        if body.len() > MAX_ANSWER {
            let text = format!("{}: more than {MAX_ANSWER} bytes", self.base);
            return Err(Failure::permanent(text));
        }
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        match status {
            200 | 404 if header("x-consul-knownleader") == Some("false") => Err(
                Failure::transient(format!("{}: Consul has no leader", self.base)),
            ),
            // Consul's own 404 has an index; a proxy's does not.
            404 if header("x-consul-index").is_none() => {
                Err(self.refused(status, &body, repeat, printable))
            }
            200 | 404 => Ok(Answer {
                found: status == 200,
                index: header("x-consul-index").and_then(|index| index.parse().ok()),
                body,
            }),
            _ => Err(self.refused(status, &body, repeat, printable)),
        }
    }

    fn prepare(
        &self,
        request: Request,
        consistency: Consistency,
        blocking: Option<Blocking>,
    ) -> reqwest::RequestBuilder {
        let Request {
            method,
            key,
            mut query,
            body,
        } = request;
        match consistency {
            Consistency::Stale => query.push("stale".to_owned()),
            Consistency::Leader => {}
            Consistency::Quorum => query.push("consistent".to_owned()),
        }
        if let Some(Blocking { index, wait }) = blocking {
            query.push(format!("index={index}&wait={}ms", wait.as_millis()));
        }
        let mut uri = format!("{}/v1/kv/{}", self.base, key::encode(&key));
        if !query.is_empty() {
            uri = format!("{uri}?{}", query.join("&"));
        }
        let mut builder = self.http.request(method, uri);
        if let Some(token) = &self.token {
            builder = builder.header("x-consul-token", token.clone());
        }
        builder.body(body)
    }

    fn refused(&self, status: u16, body: &[u8], repeat: Repeat, printable: bool) -> Failure {
        if status == 400 && body.is_empty() && !printable {
            return Failure::invalid_key(key::NOT_PRINTABLE);
        }
        let body = String::from_utf8_lossy(&body[..body.len().min(MAX_MESSAGE)]);
        let hint = if status == 403 {
            "; the ACL token (acl_token) must allow key:write below the prefix"
        } else {
            ""
        };
        let text = format!("{}: {status} {}{hint}", self.base, body.trim());
        // Consul's texts for a request that reached no leader; after other 500s the request may
        // have taken effect.
        let nothing_done = ["No cluster leader", "No known Consul servers"]
            .iter()
            .any(|words| body.contains(words));
        match status {
            413 => Failure::invalid_value(text),
            429 => Failure::transient(text),
            500..=599 if repeat == Repeat::Safe || nothing_done => Failure::transient(text),
            _ => Failure::permanent(text),
        }
    }

    /// The agent, the error and its causes in one line.
    fn describe(&self, error: &dyn Error) -> String {
        let mut text = format!("{}: {error}", self.base);
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}

fn no_tls() -> Result<ClientConfig, ConfigError> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Ok(config)
}
