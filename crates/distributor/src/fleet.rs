//! The other distributors, as far as gossip knows them: they share the rates of the tenants.

use std::time::Duration;

use distributor_config::TenantLimits;
use ingest::{Fleet, PushLimits, RateStrategy};
use kv_memberlist::Inspector;

/// Time between two counts of the members.
const COUNT_INTERVAL: Duration = Duration::from_millis(250);

/// Counts the active members, forever.
pub(crate) async fn count_members(gossip: Option<Inspector>, fleet: Fleet) {
    let Some(gossip) = gossip else {
        return std::future::pending().await;
    };
    loop {
        fleet.set(gossip.active_members());
        tokio::time::sleep(COUNT_INTERVAL).await;
    }
}

/// Says that rates which are meant for the fleet are each instance's, since nothing tells how many
/// there are.
pub(crate) fn warn_of_unknown_fleet(defaults: &PushLimits, overrides: &TenantLimits) {
    let is_meant_for_fleet = |limits: &PushLimits| {
        limits.ingestion_rate > 0.0 && limits.ingestion_rate_strategy == RateStrategy::Global
    };
    let snapshot = overrides.snapshot();
    let mut tenants = snapshot.tenants().map(|(_, limits)| &limits.push);
    if is_meant_for_fleet(defaults) || tenants.any(is_meant_for_fleet) {
        tracing::warn!(
            "limits.ingestion_rate limits each instance, not the fleet: without gossip it is not \
             known how many instances there are. Divide the rate by their number, and set \
             limits.ingestion_rate_strategy to local to confirm that"
        );
    }
}
