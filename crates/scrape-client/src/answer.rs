//! The answer to a request.

use http::{HeaderMap, StatusCode};

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
    /// Reads the body to its end, however large it is.
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

    /// The body as JSON. For tests.
    ///
    /// # Panics
    /// When it is something else.
    #[expect(clippy::panic, reason = "for tests")]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e} in: {}", self.body))
    }

    /// The status for people: `404 Not Found`.
    pub fn status_text(&self) -> String {
        StatusCode::from_u16(self.status).map_or(self.status.to_string(), |code| code.to_string())
    }

    /// A header's value, if there is one.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}
