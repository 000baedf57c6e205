//! `GET` within a time and a size.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderMap};
use rustls::{ClientConfig, RootCertStore};

use crate::Answer;

/// A body that is larger is not read to its end, bytes: metrics of 100,000 HA clusters are smaller.
const MAX_BODY: usize = 128 << 20;

/// Value of `Accept` for pages that are also available as JSON.
pub const JSON: &str = "application/json";
/// Value of `Accept` for any format.
pub const ANY: &str = "*/*";

/// Why there is no complete answer or, for [`get_page`], no page.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GetError {
    /// It did not arrive in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// It has more bytes than are read.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The connection failed, or the data sent over it was invalid. The text is that of the root
    /// cause, which is what an operator can act on.
    #[error("{}", first_cause(.0))]
    Http(#[from] reqwest::Error),
    /// An answer of another status than 200.
    #[error("{url} answers {status}")]
    Status {
        /// Of the page.
        url: String,
        /// The status of the answer.
        status: String,
    },
}

/// A client for [`get`] without a proxy and without a time limit of its own.
///
/// # Errors
/// It cannot be set up.
pub fn client(tls: ClientConfig) -> reqwest::Result<reqwest::Client> {
    client_with_headers(tls, HeaderMap::new())
}

/// [`client`] that sends these headers with every request.
///
/// # Errors
/// It cannot be set up.
pub fn client_with_headers(
    tls: ClientConfig,
    headers: HeaderMap,
) -> reqwest::Result<reqwest::Client> {
    // Like Prometheus, it does not use a proxy from the environment.
    let builder = reqwest::Client::builder()
        .no_proxy()
        .default_headers(headers);
    builder.tls_backend_preconfigured(tls).build()
}

/// A client for plain HTTP: it trusts no certificate. Every request is given up after `timeout`.
///
/// # Errors
/// It cannot be set up.
pub fn plain_client(timeout: Duration) -> reqwest::Result<reqwest::Client> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = reqwest::Client::builder().no_proxy().timeout(timeout);
    let builder =
        match ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions() {
            Ok(tls) => builder.tls_backend_preconfigured(
                tls.with_root_certificates(RootCertStore::empty())
                    .with_no_client_auth(),
            ),
            // Not with the versions and the provider that this is built with.
            Err(_) => builder,
        };
    builder.build()
}

/// `GET url`: an answer of any status.
///
/// # Errors
/// There is no complete answer within `timeout`.
pub async fn get(
    client: &reqwest::Client,
    url: &str,
    accept: &str,
    timeout: Duration,
) -> Result<Answer, GetError> {
    let answer = async {
        let mut response = client.get(url).header(ACCEPT, accept).send().await?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(GetError::TooLarge(MAX_BODY));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    };
    tokio::time::timeout(timeout, answer)
        .await
        .unwrap_or(Err(GetError::Timeout(timeout)))
}

/// [`get`] of a page that must be there: its text.
///
/// # Errors
/// As [`get`], or its status is another than 200.
pub async fn get_page(
    client: &reqwest::Client,
    url: &str,
    accept: &str,
    timeout: Duration,
) -> Result<String, GetError> {
    let answer = get(client, url, accept, timeout).await?;
    if answer.status == 200 {
        return Ok(answer.body);
    }
    Err(GetError::Status {
        url: url.to_owned(),
        status: answer.status_text(),
    })
}

fn first_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
