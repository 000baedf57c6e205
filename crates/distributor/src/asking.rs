//! Asking other distributors for their pages and metrics.

use std::time::Duration;

use http::StatusCode;
use reqwest::header::ACCEPT;

/// A body that is larger is not read to its end: metrics of 100,000 clusters are smaller.
const MAX_BODY: usize = 128 << 20;

/// Asks for JSON.
pub(crate) const JSON: &str = "application/json";
/// Asks for whatever there is.
pub(crate) const ANY: &str = "*/*";

/// A client for [`get`], without proxies.
///
/// # Errors
/// It cannot be set up.
pub(crate) fn client(tls: rustls::ClientConfig) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        // As Prometheus: a proxy is never taken from the environment unasked.
        .no_proxy()
        .build()
}

/// `GET url`: the status, and the body as text.
///
/// # Errors
/// There is no complete answer within `timeout`; for people.
pub(crate) async fn get(
    client: &reqwest::Client,
    url: &str,
    accept: &str,
    timeout: Duration,
) -> Result<(StatusCode, String), String> {
    let answer = async {
        let request = client.get(url).header(ACCEPT, accept);
        let mut response = request.send().await.map_err(|error| causes(&error))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| causes(&error))? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(format!("the answer is larger than {MAX_BODY} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::time::timeout(timeout, answer)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {timeout:?}")))
}

/// [`get`] of a page that must be there.
///
/// # Errors
/// As [`get`], or its status is another than 200.
pub(crate) async fn get_page(
    client: &reqwest::Client,
    url: &str,
    accept: &str,
    timeout: Duration,
) -> Result<String, String> {
    let (status, body) = get(client, url, accept, timeout).await?;
    match status {
        StatusCode::OK => Ok(body),
        other => Err(format!("{url} answers {other}")),
    }
}

/// What went wrong in the end, which is what an operator can do something about.
fn causes(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The series of a metric in the text format: the text between braces, and the value.
pub(crate) fn series<'a>(
    metrics: &'a str,
    name: &'a str,
) -> impl Iterator<Item = (&'a str, f64)> + 'a {
    metrics.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        if !rest.starts_with(['{', ' ']) {
            return None;
        }
        let (labels, value) = rest.rsplit_once(' ')?;
        let labels = labels.trim_start_matches('{').trim_end_matches('}');
        Some((labels, value.parse().ok()?))
    })
}

/// The sum over all series of a metric; 0 without any.
pub(crate) fn sum(metrics: &str, name: &str) -> u64 {
    series(metrics, name).map(|(_, value)| value).sum::<f64>() as u64
}

/// The value of a label that has neither quotes nor backslashes in it.
pub(crate) fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let marker = format!("{name}=\"");
    let (before, after) = labels.split_once(marker.as_str())?;
    if !(before.is_empty() || before.ends_with(',')) {
        return None;
    }
    after.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_by_their_whole_name() {
        let text = "# HELP a_total x\n# TYPE a_total counter\na_total{user=\"x y\"} 3\n\
                    a_total{user=\"z\"} 4.0\na_total_more 100\nb_total 1\n";
        assert_eq!(sum(text, "a_total"), 7);
        assert_eq!(sum(text, "b_total"), 1);
        assert_eq!(sum(text, "c_total"), 0);
    }

    #[test]
    fn labels_are_found_by_their_whole_name() {
        let text = "p{kv_name=\"k\",store=\"consul\"} 1\np{store=\"memberlist\"} 0\n";
        let stores: Vec<_> = series(text, "p")
            .map(|(labels, value)| (label(labels, "store"), value))
            .collect();
        assert_eq!(stores, [(Some("consul"), 1.0), (Some("memberlist"), 0.0)]);
        assert_eq!(label("kv_name=\"k\"", "name"), None);
    }
}
