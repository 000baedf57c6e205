//! [`Sender`]: synthetic remote-write requests.

use std::time::Duration;

use prost::Message as _;

use crate::series::{to_v1, to_v2};
use crate::{Answer, Series, Version, http_client, v1, v2};

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
#[derive(Debug)]
pub(crate) struct Unanswered {
    /// There was a connection, so it may have been received and acted upon.
    pub(crate) may_have_arrived: bool,
    /// What went wrong.
    pub(crate) reason: String,
}

impl Sender {
    /// One that writes to `url` without a tenant.
    pub fn new(url: &str) -> Self {
        Self {
            client: http_client(),
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
        match version {
            Version::V1 => self.send_v1(&to_v1(series)).await,
            Version::V2 => self.send_v2(&to_v2(series)).await,
        }
    }

    /// [`Sender::send`] to somebody who may be gone.
    ///
    /// # Errors
    /// When there is no complete answer.
    pub async fn try_send(&self, version: Version, series: &[Series]) -> Result<Answer, String> {
        let sent = self.deliver(version, series).await;
        sent.map_err(|unanswered| unanswered.reason)
    }

    /// [`Sender::try_send`] for those who have to know whether it may have arrived.
    pub(crate) async fn deliver(
        &self,
        version: Version,
        series: &[Series],
    ) -> Result<Answer, Unanswered> {
        let protobuf = match version {
            Version::V1 => to_v1(series).encode_to_vec(),
            Version::V2 => to_v2(series).encode_to_vec(),
        };
        self.try_send_protobuf(version, &protobuf).await
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
    pub async fn send_protobuf(&self, version: Version, protobuf: &[u8]) -> Answer {
        self.try_send_protobuf(version, protobuf)
            .await
            .unwrap_or_else(|e| panic!("{}: {}", self.url, e.reason))
    }

    async fn try_send_protobuf(
        &self,
        version: Version,
        protobuf: &[u8],
    ) -> Result<Answer, Unanswered> {
        let (content_type, number) = match version {
            Version::V1 => ("application/x-protobuf", "0.1.0"),
            Version::V2 => (
                "application/x-protobuf;proto=io.prometheus.write.v2.Request",
                "2.0.0",
            ),
        };
        let headers = [
            ("Content-Type", content_type),
            ("Content-Encoding", "snappy"),
            ("X-Prometheus-Remote-Write-Version", number),
        ];
        let body = snap::raw::Encoder::new().compress_vec(protobuf).unwrap();
        self.request(&headers, body).await
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
        sent.map_err(|unanswered| unanswered.reason)
    }

    async fn request(&self, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Answer, Unanswered> {
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
        let unanswered = |error: reqwest::Error| Unanswered {
            may_have_arrived: !error.is_connect(),
            reason: format!("{error:?}"),
        };
        let response = request.send().await.map_err(unanswered)?;
        Answer::read(response).await.map_err(unanswered)
    }
}
