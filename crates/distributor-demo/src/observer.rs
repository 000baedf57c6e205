//! What the distributors say about themselves over HTTP: the HA tracker's page and the metrics.

use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use admin_api::HaTracker;
use futures::future::join_all;
use scrape_client::{ANY, JSON, get_page, sum};

/// The distributors are in this process.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads one tenant's cluster from the distributors' pages.
pub(crate) struct Observer {
    client: reqwest::Client,
    /// What each said last; of one that is gone, its last totals.
    distributors: Vec<(SocketAddr, DistributorRow)>,
}

/// One distributor.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct DistributorRow {
    pub(crate) is_running: bool,
    /// The election as it knows it, once there is one.
    pub(crate) elected: Option<Elected>,
    /// Members of the gossip cluster that it knows to be alive.
    pub(crate) members: u64,
    /// Samples accepted since the start.
    pub(crate) accepted: u64,
    /// Samples deduplicated since the start.
    pub(crate) deduplicated: u64,
}

/// What the pages said, at one time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Observation {
    pub(crate) distributors: Vec<DistributorRow>,
    /// What all that run agree on; `None` while they do not.
    pub(crate) elected: Option<Elected>,
    /// Samples accepted since the start.
    pub(crate) accepted: u64,
    /// Samples deduplicated since the start.
    pub(crate) deduplicated: u64,
}

/// Who is elected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Elected {
    pub(crate) replica: String,
    /// Since when, Unix ms.
    pub(crate) since_ms: i64,
}

impl Observer {
    /// Of the distributors at `addresses`, which must have no more than this one tenant and cluster.
    pub(crate) fn new(client: reqwest::Client, addresses: &[SocketAddr]) -> Self {
        let distributors = addresses.iter().map(|address| {
            let row = DistributorRow {
                is_running: true,
                ..DistributorRow::default()
            };
            (*address, row)
        });
        Self {
            client,
            distributors: distributors.collect(),
        }
    }

    /// Distributor number `index` is not to be asked any more.
    pub(crate) fn forget(&mut self, index: usize) {
        if let Some((_, row)) = self.distributors.get_mut(index) {
            row.is_running = false;
        }
    }

    /// Asks both pages of each.
    ///
    /// # Errors
    /// What failed, for people.
    pub(crate) async fn observe(&mut self) -> Result<Observation, String> {
        let client = &self.client;
        let asked = self.distributors.iter().map(|(address, row)| async move {
            if row.is_running {
                ask(client, *address).await
            } else {
                Ok(row.clone())
            }
        });
        let rows: Result<Vec<_>, _> = join_all(asked).await.into_iter().collect();
        let rows = rows?;
        for ((_, known), row) in self.distributors.iter_mut().zip(&rows) {
            known.clone_from(row);
        }
        Ok(Observation {
            elected: agreement(&rows),
            accepted: rows.iter().map(|row| row.accepted).sum(),
            deduplicated: rows.iter().map(|row| row.deduplicated).sum(),
            distributors: rows,
        })
    }
}

async fn ask(client: &reqwest::Client, address: SocketAddr) -> Result<DistributorRow, String> {
    let (page, metrics) = (page_url(address), format!("http://{address}/metrics"));
    let (page, metrics) = tokio::join!(
        get_page(client, &page, JSON, PAGE_TIMEOUT),
        get_page(client, &metrics, ANY, PAGE_TIMEOUT)
    );
    let page = page.map_err(|error| error.to_string())?;
    let metrics = metrics.map_err(|error| error.to_string())?;
    Ok(DistributorRow {
        is_running: true,
        elected: parse_page(&page)?,
        members: sum(&metrics, "memberlist_client_cluster_members_count"),
        accepted: sum(&metrics, "cortex_distributor_received_samples_total"),
        deduplicated: sum(&metrics, "cortex_distributor_deduped_samples_total"),
    })
}

fn agreement(rows: &[DistributorRow]) -> Option<Elected> {
    let mut running = rows.iter().filter(|row| row.is_running);
    let first = running.next()?.elected.clone()?;
    let agrees = |row: &DistributorRow| {
        let replica = row.elected.as_ref().map(|elected| &elected.replica);
        replica == Some(&first.replica)
    };
    running.all(agrees).then_some(first)
}

/// The page that users can open during the demo.
pub(crate) fn page_url(address: SocketAddr) -> String {
    format!("http://{address}/distributor/ha_tracker")
}

fn parse_page(text: &str) -> Result<Option<Elected>, String> {
    let page: HaTracker =
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
    fn those_that_run_must_agree() {
        let row = |replica: Option<&str>, is_running| DistributorRow {
            is_running,
            elected: replica.map(|replica| Elected {
                replica: replica.to_owned(),
                since_ms: 1,
            }),
            ..DistributorRow::default()
        };
        let replica = |rows: &[DistributorRow]| agreement(rows).map(|elected| elected.replica);
        let (a, b) = (row(Some("a"), true), row(Some("b"), true));
        assert_eq!(replica(&[a.clone(), a.clone()]), Some("a".to_owned()));
        assert_eq!(replica(&[a.clone(), b.clone()]), None);
        assert_eq!(replica(&[a.clone(), row(None, true)]), None);
        assert_eq!(replica(&[row(Some("a"), false), b]), Some("b".to_owned()));
        assert_eq!(replica(&[row(Some("a"), false)]), None);
    }
}
