//! One page of one distributor.

use std::time::Duration;

use scrape_client::{ANY, Answer, JSON, get};
use serde::de::DeserializeOwned;

/// A distributor whose store does not answer needs some time to report this.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most distributors that are asked at the same time.
pub(crate) const CONCURRENT: usize = 16;

/// The pages of one distributor.
pub(crate) struct Pages<'a> {
    pub(crate) client: &'a reqwest::Client,
    pub(crate) target: &'a str,
}

impl Pages<'_> {
    /// An answer of any status.
    pub(crate) async fn any(&self, path: &str) -> Result<Answer, String> {
        self.get(path, ANY).await
    }

    /// A page as JSON.
    pub(crate) async fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let answer = self.get(path, JSON).await?;
        match answer.status {
            200 => serde_json::from_str(&answer.body)
                .map_err(|error| format!("{path} is not the page of a distributor: {error}")),
            401 => Err(format!(
                "{path} answers 401: give --username and --password-file, or --bearer-token-file, of \
                 its pages_credentials_file"
            )),
            _ => Err(format!("{path} answers {}", answer.status_text())),
        }
    }

    async fn get(&self, path: &str, accept: &str) -> Result<Answer, String> {
        let url = format!("{}{path}", self.target);
        let answer = get(self.client, &url, accept, TIMEOUT).await;
        answer.map_err(|error| error.to_string())
    }
}
