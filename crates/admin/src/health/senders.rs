//! Problems of senders, over all tenants.

use admin_api::Severity;
use ingest::{Cause, Refusal};

use super::condition::Component;
use super::found::{Found, without_end};

/// A problem that has not occurred for this long is over, ms: after a 4xx, a sender sends its next
/// batch within seconds, and most scrape at least once a minute.
const CURRENT_MS: i64 = 2 * 60_000;
/// Tenants that are listed.
const NAMED: usize = 3;

/// One per cause.
pub(super) fn found(refusals: &[Refusal], now_ms: i64) -> Vec<Found> {
    let is_current = |refusal: &&Refusal| now_ms.saturating_sub(refusal.last_ms) <= CURRENT_MS;
    let mut current: Vec<&Refusal> = refusals.iter().filter(is_current).collect();
    // For each cause: known tenants first, then those with the most occurrences.
    current.sort_by_key(|refusal| (refusal.cause, !refusal.is_known, u64::MAX - refusal.count));
    current
        .chunk_by(|a, b| a.cause == b.cause)
        .filter_map(of_cause)
        .collect()
}

fn of_cause(refusals: &[&Refusal]) -> Option<Found> {
    let last = refusals.iter().max_by_key(|refusal| refusal.last_ms)?;
    let since_ms = refusals.iter().map(|refusal| refusal.since_ms).min()?;
    let count: u64 = refusals
        .iter()
        .fold(0, |sum, refusal| sum.saturating_add(refusal.count));
    let cause = last.cause;
    let whom = tenants(refusals);
    let what = if cause.counts_samples() {
        let labels = match cause {
            Cause::OneHaLabel => "only one of the two HA labels",
            Cause::NeverHaLabels => "both HA labels in no series at all",
            _ => "neither HA label",
        };
        format!(
            "{count} samples {whom} came with {labels}: if two replicas send them, they are stored twice"
        )
    } else {
        let times = if count == 1 { "once" } else { "times" };
        let count = if count == 1 {
            String::new()
        } else {
            format!("{count} ")
        };
        format!(
            "Push requests {whom} are refused ({}, {count}{times}). The last answer: {}",
            cause.name(),
            without_end(&last.example),
        )
    };
    let found = Found::new(
        Severity::Warning,
        Component::Senders,
        cause.name(),
        what,
        remedy(cause),
    );
    Some(found.since(since_ms).told())
}

fn tenants(refusals: &[&Refusal]) -> String {
    let named: Vec<String> = refusals
        .iter()
        .filter(|refusal| !refusal.tenant.is_empty())
        .take(NAMED)
        .map(|refusal| format!("{:?}", refusal.tenant))
        .collect();
    let others = refusals.len() - named.len();
    match (named.len(), others) {
        (0, _) => "without a tenant".to_owned(),
        (1, 0) => format!("of tenant {}", named.join("")),
        (_, 0) => format!("of tenants {}", named.join(", ")),
        _ => format!("of tenants {} and {others} more", named.join(", ")),
    }
}

fn remedy(cause: Cause) -> &'static str {
    match cause {
        Cause::TooManyHaClusters => {
            "If the cluster label varies (a pod's name?), correct it at the senders; if there \
             really are so many clusters, raise limits.ha_max_clusters for the tenant. Known \
             clusters are not affected"
        }
        Cause::NoHaLabels => {
            "Set the external labels of limits.ha_cluster_label and limits.ha_replica_label at \
             the senders, or ignore this if they are not HA pairs"
        }
        Cause::OneHaLabel => {
            "Compare the senders' external labels with limits.ha_cluster_label and \
             limits.ha_replica_label: both are needed"
        }
        Cause::NeverHaLabels => {
            "Compare the senders' external labels with limits.ha_cluster_label and \
             limits.ha_replica_label. vmagent drops labels that begin with `__`: with it, use another \
             replica label"
        }
        Cause::NoTenant => {
            "Set the header X-Scope-OrgID at the senders, or multitenancy_enabled: false here"
        }
        Cause::Unauthenticated => {
            "Give the senders credentials of senders_credentials_file, or add theirs to it. \
             Prometheus drops batches that are answered 401"
        }
        Cause::TenantNotAllowed => {
            "Add the tenant to the sender's entry in senders_credentials_file, or correct its \
             X-Scope-OrgID"
        }
        Cause::RateLimited => {
            "Raise limits.ingestion_rate for the tenant, or send less. Prometheus drops batches \
             that are answered 429, unless retry_on_http_429 is set"
        }
        Cause::DownstreamRefused => {
            "The downstream refuses the data; its text says why. Senders drop batches that are \
             answered 4xx"
        }
        Cause::TooLarge => {
            "Send smaller batches (max_samples_per_send), or raise distributor.max_recv_msg_size"
        }
        _ => {
            "Fix the sender: it drops batches that are answered 4xx, and repeats them forever on 5xx"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn refusal(tenant: &str, cause: Cause, count: u64, ago_ms: i64) -> Refusal {
        Refusal {
            tenant: tenant.to_owned(),
            is_known: true,
            cause,
            count,
            since_ms: NOW - ago_ms - 1000,
            last_ms: NOW - ago_ms,
            example: format!("{tenant} did wrong"),
            client: None,
        }
    }

    #[test]
    fn each_cause_is_told_once_for_all_its_tenants() {
        let refusals = [
            refusal("a", Cause::TooManyHaClusters, 5, 10),
            refusal("b", Cause::TooManyHaClusters, 50, 20),
            refusal("c", Cause::TooManyHaClusters, 1, 30),
            refusal("d", Cause::TooManyHaClusters, 1, 40),
            refusal("a", Cause::NoHaLabels, 7, 0),
            refusal("", Cause::NoTenant, 1, 0),
            refusal("a", Cause::TooLarge, 9, CURRENT_MS + 1),
        ];
        let found = found(&refusals, NOW);
        let texts: Vec<&str> = found.iter().map(|found| found.what.as_str()).collect();
        assert_eq!(
            texts,
            [
                "Push requests without a tenant are refused (no_tenant, once). The last answer:  did wrong",
                "Push requests of tenants \"b\", \"a\", \"c\" and 1 more are refused \
                 (too_many_ha_clusters, 57 times). The last answer: a did wrong",
                "7 samples of tenant \"a\" came with neither HA label: if two replicas send them, \
                 they are stored twice",
            ]
        );
        assert_eq!(found[1].since_ms, Some(NOW - 1040));
    }
}
