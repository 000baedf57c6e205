//! What the distributor says about itself over HTTP: its HA tracker page and its metrics.

use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use reqwest::header::ACCEPT;
use serde::Deserialize;

/// Reads one tenant's cluster from a distributor's pages.
pub(super) struct Observer {
    client: reqwest::Client,
    page: String,
    metrics: String,
}

/// What the pages said, at one time.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Observation {
    /// The election, once there is one.
    pub(super) elected: Option<Elected>,
    /// Samples accepted since the start.
    pub(super) accepted: u64,
    /// Samples deduplicated since the start.
    pub(super) deduplicated: u64,
    /// Changes of the elected replica since the start.
    pub(super) failovers: u64,
}

/// Who is elected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Elected {
    pub(super) replica: String,
    /// Since when, Unix ms.
    pub(super) since_ms: i64,
}

#[derive(Deserialize)]
struct Page {
    elected: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    replica: String,
    last_election_time: String,
}

impl Observer {
    /// Of the distributor at `address`, which must have no more than this one tenant and cluster.
    pub(super) fn new(client: reqwest::Client, address: SocketAddr) -> Self {
        Self {
            client,
            page: page_url(address),
            metrics: format!("http://{address}/metrics"),
        }
    }

    /// Asks both pages.
    ///
    /// # Errors
    /// What failed, for people.
    pub(super) async fn observe(&self) -> Result<Observation, String> {
        let (page, metrics) = tokio::join!(
            self.get(&self.page, "application/json"),
            self.get(&self.metrics, "*/*")
        );
        let (page, metrics) = (page?, metrics?);
        Ok(Observation {
            elected: parse_page(&page)?,
            accepted: sum(&metrics, "cortex_distributor_received_samples_total"),
            deduplicated: sum(&metrics, "cortex_distributor_deduped_samples_total"),
            failovers: sum(&metrics, "cortex_ha_tracker_reelections_total"),
        })
    }

    async fn get(&self, url: &str, accept: &str) -> Result<String, String> {
        let request = self.client.get(url).header(ACCEPT, accept);
        let response = request.send().await.map_err(|error| error.to_string())?;
        let response = response
            .error_for_status()
            .map_err(|error| error.to_string())?;
        response.text().await.map_err(|error| error.to_string())
    }
}

/// The page that people can look at meanwhile.
pub(super) fn page_url(address: SocketAddr) -> String {
    format!("http://{address}/distributor/ha_tracker")
}

fn parse_page(text: &str) -> Result<Option<Elected>, String> {
    let page: Page =
        serde_json::from_str(text).map_err(|error| format!("the HA tracker page: {error}"))?;
    let Some(row) = page.elected.into_iter().next() else {
        return Ok(None);
    };
    let since = humantime::parse_rfc3339_weak(&row.last_election_time)
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .unwrap_or(Duration::ZERO);
    Ok(Some(Elected {
        replica: row.replica,
        since_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
    }))
}

/// The sum over all series of a metric in the text format; 0 without any.
fn sum(metrics: &str, name: &str) -> u64 {
    metrics
        .lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            if !rest.starts_with(['{', ' ']) {
                return None;
            }
            rest.rsplit(' ').next()?.parse::<f64>().ok()
        })
        .sum::<f64>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_tells_who_is_elected() {
        assert_eq!(parse_page(r#"{"elected":[],"now":""}"#), Ok(None));
        let text = r#"{"elected":[{"userID":"demo","cluster":"demo","replica":"r1",
            "lastElectionTime":"2023-11-14T22:13:20.123Z","electedAt":"","updateDuration":1,
            "failoverDuration":-5}],"now":""}"#;
        let expected = Elected {
            replica: "r1".to_owned(),
            since_ms: 1_700_000_000_123,
        };
        assert_eq!(parse_page(text), Ok(Some(expected)));
        assert!(parse_page("<html>").is_err());
    }

    #[test]
    fn metrics_are_summed_by_their_whole_name() {
        let text = "# HELP a_total x\n# TYPE a_total counter\na_total{user=\"x y\"} 3\n\
                    a_total{user=\"z\"} 4.0\na_total_more 100\nb_total 1\n";
        assert_eq!(sum(text, "a_total"), 7);
        assert_eq!(sum(text, "b_total"), 1);
        assert_eq!(sum(text, "c_total"), 0);
    }
}
