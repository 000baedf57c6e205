//! What the guide tells an operator to verify, and what must hold besides.

use std::collections::{BTreeMap, BTreeSet};

use admin_api::{BackfillState, Elected, HaTracker, MemberState, MultiKv, MultiStore};
use futures::future::try_join_all;
use serde_json::json;

use super::beside;
use super::fleet::{Fleet, SIZE};
use super::plan::Step;
use crate::{Cluster, Distributor, LONG, Metrics, SHORT};
use peers::comes_true;

const ALL: [usize; SIZE] = [0, 1, 2];
const PREFIX: &str = "cortex_multikv_";

/// The elected replica, and since when: a new election of the same replica changes the time.
pub(crate) type Elections = BTreeMap<Cluster, Election>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Election {
    pub(crate) replica: String,
    pub(crate) at: String,
}

/// One distributor runs as its step says.
pub(crate) async fn is_at(fleet: &Fleet, number: usize) -> Result<(), String> {
    let step = fleet.steps()[number];
    let distributor = &fleet.mesh.distributors[number];
    let old = fleet.surroundings.old;
    let page = distributor.get_json("/distributor/multi_kv").await?;
    let Some(multi) = step.multi(old) else {
        return match page == json!({"store": step.primary(old), "override": null}) {
            true => Ok(()),
            false => Err(format!("d{number}, which is at step {step}, says {page}")),
        };
    };
    let expected = json!({
        "store": "multi",
        "primary": multi.primary,
        "secondary": multi.secondary,
        "mirror_enabled": multi.mirror_enabled,
        "refused": null,
    });
    let is_as_expected = expected
        .as_object()
        .unwrap()
        .iter()
        .all(|(name, value)| page[name] == *value);
    match is_as_expected {
        true => Ok(()),
        false => Err(format!("d{number}, which is at step {step}, says {page}")),
    }
}

/// The metrics say what the guide says that they say.
pub(crate) async fn metrics_of(fleet: &Fleet, number: usize) -> Result<(), String> {
    let step = fleet.steps()[number];
    let text = fleet.mesh.distributors[number].get("/metrics").await?.body;
    let old = fleet.surroundings.old;
    let Some(multi) = step.multi(old) else {
        let line = text.lines().find(|line| line.contains(PREFIX));
        return match line {
            None => Ok(()),
            Some(line) => Err(format!("d{number} at step {step} exposes {line}")),
        };
    };
    let metrics = Metrics::parse(&text).unwrap();
    let primary = |store| metrics.get(&format!("{PREFIX}primary_store"), &[("store", store)]);
    let mirrors = metrics.get(&format!("{PREFIX}mirror_enabled"), &[]);
    let found = (primary(multi.primary), primary(multi.secondary), mirrors);
    let mirrors = f64::from(u8::from(multi.mirror_enabled));
    match found == (Some(1.0), Some(0.0), Some(mirrors)) {
        true => Ok(()),
        false => Err(format!(
            "d{number} at step {step}: primary, secondary, mirroring are {found:?}"
        )),
    }
}

/// Who is elected, if all distributors name the same replica of every cluster.
pub(crate) async fn agreement(fleet: &Fleet) -> Result<Elections, String> {
    let pages = ALL.map(|number| elections(&fleet.mesh.distributors[number]));
    let pages = try_join_all(pages).await?;
    let (pages, foreign): (Vec<_>, Vec<_>) = pages.into_iter().map(beside::apart).unzip();
    let wanted: BTreeSet<Cluster> = fleet.clusters().into_iter().collect();
    for (number, page) in pages.iter().enumerate() {
        let known: BTreeSet<Cluster> = page.keys().cloned().collect();
        if known != wanted {
            let differ: Vec<_> = known.symmetric_difference(&wanted).collect();
            return Err(format!("d{number} tracks other clusters: {differ:?}"));
        }
        let differs = |cluster: &&Cluster| page[*cluster] != pages[0][*cluster];
        if let Some(cluster) = wanted.iter().find(differs) {
            return Err(format!(
                "{cluster:?}: d0 says {:?}, d{number} says {:?}",
                pages[0][cluster], page[cluster]
            ));
        }
    }
    if let Some(beside) = &fleet.beside {
        beside.agrees(fleet, &pages[0], &foreign).await?;
    }
    Ok(pages.into_iter().next().unwrap())
}

async fn elections(distributor: &Distributor) -> Result<Elections, String> {
    let page: HaTracker = distributor.page("/distributor/ha_tracker").await?;
    let election = |row: Elected| {
        let cluster = Cluster::new(&row.tenant, &row.cluster);
        let election = Election {
            replica: row.replica,
            at: row.last_election_time,
        };
        (cluster, election)
    };
    Ok(page.elected.into_iter().map(election).collect())
}

/// How often there was another election after the first one, by the metric of each distributor.
pub(crate) async fn reelections(fleet: &Fleet) -> Result<f64, String> {
    let all = fleet.mesh.distributors.iter().map(Distributor::metrics);
    let sums: Vec<f64> = try_join_all(all)
        .await?
        .iter()
        .map(|metrics| metrics.sum("cortex_ha_tracker_reelections_total", &[]))
        .collect();
    match sums.iter().all(|sum| *sum == sums[0]) {
        true => Ok(sums[0]),
        false => Err(format!("they count differently: {sums:?}")),
    }
}

/// Those that gossip see each other. Who was killed may be shown as active for some seconds, by those
/// that hear of it after its death.
async fn see_each_other(fleet: &Fleet) -> Result<(), String> {
    let gossiping = fleet.gossiping();
    let pages = gossiping.iter().map(|number| fleet.mesh.page(*number));
    let pages = try_join_all(pages).await?;
    for (number, page) in gossiping.iter().zip(&pages) {
        let is_active = |name: &String| {
            let row = page.members.get(name);
            row.is_some_and(|row| row.state == MemberState::Active)
        };
        let mut names = pages.iter().map(|other| &other.own_name);
        if let Some(missing) = names.find(|name| !is_active(name)) {
            return Err(format!("d{number} lacks {missing}: {:?}", page.members));
        }
    }
    match &fleet.beside {
        Some(beside) => beside.is_seen(&pages).await,
        None => Ok(()),
    }
}

/// Those that gossip see each other, all agree on the elections, and each runs and says what its
/// step says.
pub(crate) async fn settled(fleet: &Fleet) -> Result<Elections, String> {
    comes_true("the fleet to settle", LONG, || async {
        see_each_other(fleet).await?;
        try_join_all(ALL.map(|number| metrics_of(fleet, number))).await?;
        agreement(fleet).await
    })
    .await
}

/// The `/memberlist` page of every distributor shows the keys of all clusters.
pub(crate) async fn keys_in_gossip(fleet: &Fleet) -> Result<(), String> {
    let wanted: BTreeSet<String> = fleet.clusters().iter().map(Cluster::key).collect();
    comes_true("/memberlist to show all keys", SHORT, || async {
        for number in ALL {
            let mut keys = fleet.mesh.page(number).await?.keys;
            keys.retain(|key| !beside::is_key_beside(key));
            if keys != wanted {
                let differ: Vec<_> = keys.symmetric_difference(&wanted).collect();
                return Err(format!("d{number} differs in {differ:?}"));
            }
        }
        Ok(())
    })
    .await
}

/// No distributor finds that the secondary store lacks anything.
pub(crate) async fn secondary_is_complete(fleet: &Fleet) -> Result<(), String> {
    comes_true("the secondary to be complete", LONG, || async {
        for (number, page) in pages(fleet).await?.iter().enumerate() {
            let comparison = page.comparison.as_ref();
            let copied_later = comparison.map_or(0, beside::copied_later);
            let behind = comparison.map(|found| found.missing + found.older - copied_later);
            let is_complete = page.backfill.state == BackfillState::Complete || copied_later > 0;
            if behind != Some(0) || !is_complete {
                return Err(format!("d{number} says {page:?}"));
            }
        }
        Ok(())
    })
    .await
}

/// What all distributors together have mirrored: writes, and failures among them.
pub(crate) async fn mirrored(fleet: &Fleet) -> Result<(f64, f64), String> {
    let all = fleet.mesh.distributors.iter().map(Distributor::metrics);
    let all = try_join_all(all).await?;
    let sum = |name: &str| -> f64 {
        let name = format!("{PREFIX}mirror_{name}_total");
        all.iter().map(|metrics| metrics.sum(&name, &[])).sum()
    };
    Ok((sum("writes"), sum("write_errors")))
}

/// Writes go to the secondary, and none of them fails.
pub(crate) async fn mirrors(fleet: &Fleet) -> Result<(), String> {
    let (writes, errors) = mirrored(fleet).await?;
    // As often as each cluster is refreshed once.
    let more = writes + fleet.clusters().len() as f64;
    let now = comes_true("more writes to be mirrored", SHORT, || async {
        let now = mirrored(fleet).await?;
        match now.0 >= more {
            true => Ok(now),
            false => Err(format!("{} of {more}", now.0)),
        }
    })
    .await?;
    if now.1 == errors {
        return Ok(());
    }
    let failures = pages(fleet).await?;
    let failures = failures.iter().map(|page| &page.mirror.last_error);
    Err(format!(
        "{} writes failed meanwhile; the last ones: {:?}",
        now.1 - errors,
        failures.collect::<Vec<_>>()
    ))
}

/// What each distributor says about the two stores.
async fn pages(fleet: &Fleet) -> Result<Vec<MultiStore>, String> {
    let all = fleet.mesh.distributors.iter().map(|distributor| async {
        let page: MultiKv = distributor.page("/distributor/multi_kv").await?;
        page.multi
            .ok_or_else(|| format!("not a multi store: {:?}", page.store))
    });
    try_join_all(all).await
}

/// Writes to the secondary fail, and are counted.
pub(crate) async fn fails_to_mirror(fleet: &Fleet) -> Result<(), String> {
    let (_, errors) = mirrored(fleet).await?;
    let more = errors + fleet.clusters().len() as f64;
    comes_true("failures of mirroring to be counted", LONG, || async {
        let now = mirrored(fleet).await?;
        match now.1 >= more {
            true => Ok(()),
            false => Err(format!("{} of {more}", now.1)),
        }
    })
    .await
}

/// What a whole fleet at one step must show before it goes on.
pub(crate) async fn verified(fleet: &Fleet, step: Step) -> Result<(), String> {
    let mirror_enabled = step
        .multi(fleet.surroundings.old)
        .is_some_and(|multi| multi.mirror_enabled);
    if mirror_enabled {
        mirrors(fleet).await?;
        secondary_is_complete(fleet).await?;
    }
    if mirror_enabled || step.primary(fleet.surroundings.old) == super::plan::NEW_STORE {
        keys_in_gossip(fleet).await?;
    }
    if step.needs_old_store() && (mirror_enabled || step.number() < 2) {
        let mut keys = fleet.old.keys().await?;
        keys.retain(|key| !beside::is_key_beside(key));
        keys.sort();
        let mut wanted: Vec<String> = fleet.clusters().iter().map(Cluster::key).collect();
        wanted.sort();
        if keys != wanted {
            return Err(format!("the old store has {keys:?}"));
        }
    }
    Ok(())
}
