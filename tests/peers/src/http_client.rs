//! Plain HTTP requests.

use std::time::Duration;

use http::HeaderMap;

/// The answer to a request, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, as text.
    pub body: String,
}

impl Answer {
    /// Reads the body to its end.
    ///
    /// # Errors
    /// When there is no complete answer.
    pub async fn read(response: reqwest::Response) -> Result<Self, reqwest::Error> {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        Ok(Self {
            status,
            headers,
            body: response.text().await?,
        })
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is something else.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e} in: {}", self.body))
    }

    /// A header's value, if there is one.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// A client of its own (connections belong to the test's runtime), without proxies.
pub fn http_client() -> reqwest::Client {
    // Fails when it is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        // Nothing here needs the system's authorities, and reading them takes longer than a test.
        .tls_certs_only([])
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap()
}

/// `GET url`, with `Accept` if given.
///
/// # Errors
/// When there is no complete answer.
pub async fn get(url: &str, accept: Option<&str>) -> Result<Answer, String> {
    let mut request = http_client().get(url);
    if let Some(accept) = accept {
        request = request.header("Accept", accept);
    }
    let response = request.send().await.map_err(|e| format!("{e:?}"))?;
    Answer::read(response).await.map_err(|e| format!("{e:?}"))
}
