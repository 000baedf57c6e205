//! [`Sender`]: one remote-write request, one answer.

use std::time::Duration;

use http::HeaderName;
use prost::Message as _;
use remote_write::Version;
use remote_write::proto::{v1, v2};
use scrape_client::Answer;

use crate::encode::{compress, to_protobuf};
use crate::series::Series;

/// Header of an answer: the samples of a 2.0 request that were stored.
pub(crate) const SAMPLES_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-samples-written");

/// A request of a [`Sender::new`] is given up after this time.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The headers of a request, besides the tenant: as senders write them, not as this project does.
pub fn headers(version: Version) -> [(&'static str, &'static str); 3] {
    let (content_type, number) = match version {
        Version::V1 => ("application/x-protobuf", "0.1.0"),
        Version::V2 => (
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            "2.0.0",
        ),
    };
    [
        ("Content-Type", content_type),
        ("Content-Encoding", "snappy"),
        ("X-Prometheus-Remote-Write-Version", number),
    ]
}

/// A remote-write client that says what it is told to, and never retries.
#[derive(Debug, Clone)]
pub struct Sender {
    client: reqwest::Client,
    url: String,
    tenant: Option<String>,
    headers: Vec<(String, String)>,
    timeout: Option<Duration>,
}

/// A request without a complete answer.
#[derive(Debug, thiserror::Error)]
#[error("{details}")]
pub struct Unanswered {
    /// There was a connection, so it may have been received and acted upon.
    pub may_have_arrived: bool,
    /// What went wrong, short.
    pub reason: String,
    details: String,
}

impl From<reqwest::Error> for Unanswered {
    fn from(error: reqwest::Error) -> Self {
        Self {
            may_have_arrived: !error.is_connect(),
            details: format!("{error:?}"),
            reason: error.without_url().to_string(),
        }
    }
}

impl Sender {
    /// One that writes to `url` without a tenant, with a client of its own.
    ///
    /// # Panics
    /// When there is no HTTP client to be had.
    #[expect(clippy::expect_used, reason = "for tests")]
    pub fn new(url: &str) -> Self {
        let client = scrape_client::plain_client(TIMEOUT).expect("an HTTP client");
        Self::with_client(client, url)
    }

    /// The same with a client that others share.
    pub fn with_client(client: reqwest::Client, url: &str) -> Self {
        Self {
            client,
            url: url.to_owned(),
            tenant: None,
            headers: Vec::new(),
            timeout: None,
        }
    }

    /// The same for a tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: &str) -> Self {
        self.tenant = Some(tenant.to_owned());
        self
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same, but it gives a request up after this time.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends series in the given version.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn send(&self, version: Version, series: &[Series]) -> Answer {
        self.send_protobuf(version, &to_protobuf(version, series))
            .await
    }

    /// [`Sender::send`] to a receiver that may be gone.
    ///
    /// # Errors
    /// When there is no complete answer.
    pub async fn try_send(&self, version: Version, series: &[Series]) -> Result<Answer, String> {
        let sent = self.deliver(version, series).await;
        sent.map_err(|unanswered| unanswered.to_string())
    }

    /// [`Sender::try_send`] for callers that have to know whether it may have arrived.
    ///
    /// # Errors
    /// When there is no complete answer.
    pub async fn deliver(&self, version: Version, series: &[Series]) -> Result<Answer, Unanswered> {
        self.try_send_protobuf(version, &to_protobuf(version, series))
            .await
    }

    /// Sends a 1.0 request.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn send_v1(&self, request: &v1::WriteRequest) -> Answer {
        self.send_protobuf(Version::V1, &request.encode_to_vec())
            .await
    }

    /// Sends a 2.0 request.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn send_v2(&self, request: &v2::Request) -> Answer {
        self.send_protobuf(Version::V2, &request.encode_to_vec())
            .await
    }

    /// Compresses and sends protobuf bytes, well formed or not.
    ///
    /// # Panics
    /// When there is no answer.
    #[expect(clippy::panic, reason = "for tests")]
    pub async fn send_protobuf(&self, version: Version, protobuf: &[u8]) -> Answer {
        self.try_send_protobuf(version, protobuf)
            .await
            .unwrap_or_else(|e| panic!("{}: {e}", self.url))
    }

    async fn try_send_protobuf(
        &self,
        version: Version,
        protobuf: &[u8],
    ) -> Result<Answer, Unanswered> {
        self.request(&headers(version), compress(protobuf)).await
    }

    /// Sends any body with any headers, besides tenant and those of [`Sender::header`].
    ///
    /// # Errors
    /// When there is no complete answer.
    pub async fn try_send_bytes(
        &self,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Answer, String> {
        let sent = self.request(headers, body).await;
        sent.map_err(|unanswered| unanswered.to_string())
    }

    /// [`Sender::try_send_bytes`] for callers that have to know whether it may have arrived.
    ///
    /// # Errors
    /// When there is no complete answer.
    pub async fn request(
        &self,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Result<Answer, Unanswered> {
        let mut request = self.client.post(&self.url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(tenant) = &self.tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        if let Some(timeout) = self.timeout {
            request = request.timeout(timeout);
        }
        let response = request.send().await?;
        Ok(Answer::read(response).await?)
    }
}
