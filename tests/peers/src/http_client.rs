//! Plain HTTP requests.

use std::time::Duration;

use scrape_client::Answer;

/// A client of its own (connections belong to the test's runtime), without proxies.
pub fn http_client() -> reqwest::Client {
    // Fails when it is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Nothing here needs the system's authorities, and reading them takes longer than a test.
    scrape_client::plain_client(Duration::from_secs(30)).unwrap()
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
