//! Fetches the pages of all distributors of a fleet, concurrently.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use admin_api::{HaTracker, Memberlist, MultiKv, MultiStore};
use fleet_client::Target;
use futures::stream::{self, StreamExt};
use scrape_client::{ANY, Answer, JSON, Sample, get, samples_named, sum};
use serde::Deserialize;

use crate::snapshot::{
    Cluster, Comparison, Details, Difference, DistributorState, Gossip, Member, Snapshot,
};
use crate::steps::Stores;

/// A distributor whose store does not answer needs some time to report this.
const PAGE_TIMEOUT: Duration = Duration::from_secs(20);

/// Most distributors that are queried at the same time: pages with many clusters are large.
const CONCURRENT_TARGETS: usize = 16;

/// Asks these distributors for their pages and metrics.
pub(crate) async fn fetch(client: &reqwest::Client, targets: Vec<Target>) -> Snapshot {
    let all = targets.into_iter().map(|target| async move {
        match target {
            Ok(target) => {
                let state = ask(client, &target).await;
                (target, state)
            }
            Err((name, error)) => (name, Err(error)),
        }
    });
    Snapshot {
        targets: stream::iter(all)
            .buffered(CONCURRENT_TARGETS)
            .collect()
            .await,
        at: SystemTime::now(),
    }
}

async fn ask(client: &reqwest::Client, target: &str) -> Result<DistributorState, String> {
    let page = |path: &str, accept: &'static str| {
        let url = format!("{target}{path}");
        async move {
            let answer = get(client, &url, accept, PAGE_TIMEOUT).await;
            answer.map_err(|error| error.to_string())
        }
    };
    let (metrics, ready, multi, members, elected) = tokio::join!(
        page("/metrics", ANY),
        page("/ready", ANY),
        page("/distributor/multi_kv", JSON),
        page("/memberlist", JSON),
        page("/distributor/ha_tracker", JSON),
    );
    let metrics = metrics?;
    if metrics.status != 200 {
        return Err(format!("/metrics answers {}", metrics.status_text()));
    }
    let metrics = metrics.body;
    let ready = ready?;
    let multi = multi_page(&multi?)?;
    let is_ours = multi.is_some();
    let members = json::<Memberlist>("/memberlist", &members?);
    let elected = json::<HaTracker>("/distributor/ha_tracker", &elected?);
    // Mimir has these pages as well, and one of them is different.
    let (members, elected) = match is_ours {
        true => (members?, elected?),
        false => (members.unwrap_or(None), elected.unwrap_or(None)),
    };
    Ok(DistributorState {
        stores: stores(multi.as_ref(), &metrics)?,
        version: version(&metrics),
        is_runtime_broken: samples_named(&metrics, "cortex_runtime_config_last_reload_successful")
            .any(|sample| sample.value == 0.0),
        not_ready: (ready.status != 200).then(|| {
            let why = ready.body.trim().replace('\n', "; ");
            why.strip_prefix("not ready: ").unwrap_or(&why).to_owned()
        }),
        writes: sum(&metrics, "cortex_multikv_mirror_writes_total"),
        errors: sum(&metrics, "cortex_multikv_mirror_write_errors_total"),
        details: multi.map(details),
        gossip: members.and_then(gossip),
        elected: elected.map(elections),
    })
}

/// The page of the multi store; `None` if there is none.
fn multi_page(answer: &Answer) -> Result<Option<MultiKv>, String> {
    const PATH: &str = "/distributor/multi_kv";
    let page = json::<MultiKv>(PATH, answer)?;
    // The page about the two stores was not understood; without it no step can be called safe.
    let is_partial =
        |page: &MultiKv| page.store.as_deref() == Some("multi") && page.multi.is_none();
    match page {
        Some(page) if is_partial(&page) => Err(unexpected(PATH)),
        page => Ok(page),
    }
}

fn unexpected(path: &str) -> String {
    format!("{path} is not as expected: is it a distributor of this version?")
}

/// A page; `None` if there is none.
fn json<T: for<'de> Deserialize<'de>>(path: &str, answer: &Answer) -> Result<Option<T>, String> {
    match answer.status {
        200 => serde_json::from_str(&answer.body)
            .map(Some)
            // The parser's message would not help an operator.
            .map_err(|_| unexpected(path)),
        404 => Ok(None),
        _ => Err(format!("{path} answers {}", answer.status_text())),
    }
}

/// From its page, or else from the metrics that Mimir also has.
fn stores(page: Option<&MultiKv>, metrics: &str) -> Result<Stores, String> {
    let is_set = |wanted: f64| {
        samples_named(metrics, "cortex_multikv_primary_store")
            .find(|sample| sample.value == wanted)
            .and_then(|sample| sample.label("store"))
    };
    if let (Some(primary), Some(secondary)) = (is_set(1.0), is_set(0.0)) {
        return Ok(Stores::Multi {
            primary: primary.into_owned(),
            secondary: secondary.into_owned(),
            mirror_enabled: sum(metrics, "cortex_multikv_mirror_enabled") == 1,
        });
    }
    if let Some(page) = page {
        return Ok(match &page.store {
            Some(store) => Stores::Alone(store.clone()),
            None => Stores::NoTracker,
        });
    }
    let of_tracker =
        |sample: &Sample<'_>| sample.label("kv_name").as_deref() == Some("distributor-hatracker");
    samples_named(metrics, "cortex_kv_request_duration_seconds_count")
        .filter(of_tracker)
        .find_map(|sample| sample.label("type"))
        .map(|store| Stores::Alone(store.into_owned()))
        .ok_or_else(|| "it does not report its store; is it a distributor?".to_owned())
}

fn version(metrics: &str) -> String {
    samples_named(metrics, "cortex_build_info")
        .find_map(|sample| sample.label("version"))
        .map_or_else(|| "?".to_owned(), Cow::into_owned)
}

/// What the page says about mirroring.
fn details(page: MultiKv) -> Details {
    let overrides =
        |wanted: admin_api::Override| wanted.primary.is_some() || wanted.mirror_enabled.is_some();
    let is_overridden = page.overridden.is_some_and(overrides);
    let Some(multi) = page.multi else {
        return Details {
            is_overridden,
            ..Details::default()
        };
    };
    let MultiStore {
        backfill,
        mirror,
        refused,
        ..
    } = multi;
    let last_error = mirror.last_error;
    Details {
        pending_keys: mirror.pending_keys,
        last_error: last_error.map(|last| format!("{}: {}", last.key, last.error)),
        refused,
        is_overridden,
        backfill: Some(backfill.state),
        backfill_pending_keys: backfill.pending_keys,
        comparison: match (multi.comparison, multi.comparison_error) {
            (Some(found), _) => Some(Ok(comparison(found))),
            (None, Some(error)) => Some(Err(error)),
            (None, None) => None,
        },
    }
}

fn comparison(found: admin_api::Comparison) -> Comparison {
    let named = found.differences.into_iter().map(|difference| {
        let replica = |desc: Option<admin_api::ReplicaDesc>| desc.map(|desc| desc.replica);
        Difference {
            same_replica: replica(difference.primary) == replica(difference.secondary),
            key: difference.key,
            reason: difference.reason,
        }
    });
    Comparison {
        missing: found.missing,
        older: found.older,
        newer: found.newer,
        extra: found.extra,
        undecodable: found.undecodable,
        age: Duration::from_millis(found.age_ms),
        named: named.collect(),
    }
}

fn gossip(page: Memberlist) -> Option<Gossip> {
    if !page.enabled {
        return None;
    }
    let own = page.members.iter().find(|member| member.is_self);
    Some(Gossip {
        own_name: own.map(|member| member.name.clone()).unwrap_or_default(),
        keys: page
            .store
            .into_iter()
            .filter(|entry| !entry.deleted)
            .map(|entry| entry.key)
            .collect(),
        members: page
            .members
            .into_iter()
            .map(|member| Member {
                name: member.name,
                address: member.address,
                state: member.state,
            })
            .collect(),
    })
}

fn elections(page: HaTracker) -> BTreeMap<Cluster, String> {
    page.elected
        .into_iter()
        .map(|row| ((row.tenant, row.cluster), row.replica))
        .collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    const MULTI: &str = "\
        cortex_multikv_primary_store{kv_name=\"distributor-hatracker\",store=\"consul\"} 1\n\
        cortex_multikv_primary_store{kv_name=\"distributor-hatracker\",store=\"memberlist\"} 0\n\
        cortex_multikv_mirror_enabled{kv_name=\"distributor-hatracker\"} 1\n";

    #[test]
    fn metrics_tell_the_stores_where_there_is_no_page() {
        let multi = Stores::Multi {
            primary: "consul".to_owned(),
            secondary: "memberlist".to_owned(),
            mirror_enabled: true,
        };
        assert_eq!(stores(None, MULTI), Ok(multi));
        let alone = "cortex_kv_request_duration_seconds_count{kv_name=\"ring\",type=\"etcd\"} 3\n\
            cortex_kv_request_duration_seconds_count{operation=\"CAS\",type=\"consul\",\
            kv_name=\"distributor-hatracker\"} 3\n";
        assert_eq!(stores(None, alone), Ok(Stores::Alone("consul".to_owned())));
        assert!(stores(None, "up 1\n").is_err());
    }

    #[test]
    fn a_page_without_a_store_has_no_tracker() {
        let page: MultiKv = serde_json::from_str(r#"{"store": null}"#).unwrap();
        assert_eq!(stores(Some(&page), ""), Ok(Stores::NoTracker));
        let page: MultiKv = serde_json::from_str(r#"{"store": "etcd"}"#).unwrap();
        assert_eq!(
            stores(Some(&page), ""),
            Ok(Stores::Alone("etcd".to_owned()))
        );
    }

    #[test]
    fn a_page_that_is_not_there_is_no_mistake() {
        let answer = |status, body: &str| Answer {
            status,
            headers: HeaderMap::new(),
            body: body.to_owned(),
        };
        let page = json::<MultiKv>("/p", &answer(404, "no"));
        assert!(page.unwrap().is_none());
        let page = json::<Memberlist>("/p", &answer(200, "{\"Members\": {}}"));
        assert!(page.is_err());
        assert!(json::<MultiKv>("/p", &answer(403, "")).is_err());
    }

    #[test]
    fn a_multi_store_that_is_not_understood_is_a_mistake() {
        let answer = |body: &str| Answer {
            status: 200,
            headers: HeaderMap::new(),
            body: body.to_owned(),
        };
        let partial = r#"{"store": "multi", "override": null, "primary": "consul"}"#;
        assert!(multi_page(&answer(partial)).is_err());
        let alone = multi_page(&answer(r#"{"store": "consul", "override": null}"#));
        assert!(alone.unwrap().unwrap().multi.is_none());
    }
}
