//! Polls each component for problems.

use std::sync::Arc;
use std::time::Duration;

use admin_api::Severity;
use distributor_config::{Config, ConfigErrors, StoreKind, TenantLimits};
use ha_tracker::{Clock, HaTracker};
use ingest::Pusher;
use kv_memberlist::Inspector;
use watched_files::{Failing, WatchedFiles};

use super::condition::Component;
use super::found::{Found, without_end};
use super::senders;
use crate::multi_kv::MultiKv;
use crate::readiness::Readiness;

/// Mistakes of a file that are listed; the log has all.
const NAMED: usize = 3;

/// How long another program's last packet on the gossip port needs attention: a member that wants to
/// join tries again within a minute.
const FOREIGNER_LASTS: Duration = Duration::from_secs(120);

/// The components that are polled.
pub struct HealthSources {
    /// Whether this instance may get traffic.
    pub readiness: Arc<Readiness>,
    /// The push path.
    pub pusher: Arc<Pusher>,
    /// `None` if the HA tracker is off.
    pub tracker: Option<Arc<HaTracker>>,
    /// `None` if gossip is not used.
    pub gossip: Option<Inspector>,
    /// `None` without a multi store.
    pub multi: Option<MultiKv>,
    /// The runtime configuration.
    pub limits: TenantLimits,
    /// Certificates and secrets.
    pub files: WatchedFiles,
    /// The configuration.
    pub config: Arc<Config>,
}

/// All current problems, unordered.
pub(super) fn all(sources: &HealthSources) -> Vec<Found> {
    let HealthSources {
        readiness,
        pusher,
        tracker,
        gossip,
        multi,
        limits,
        files,
        config,
    } = sources;
    let mut found = not_ready(readiness);
    if let Some(tracker) = tracker {
        found.extend(store(tracker, config.distributor.ha_tracker.kvstore.store));
        found.extend(clocks(tracker));
        found.extend(sender_clocks(tracker));
        found.extend(redundancy(tracker));
    }
    if let Some(gossip) = gossip {
        found.extend(alone(gossip, &config.memberlist.join_members));
        found.extend(disagreement(gossip));
        found.extend(other_protocol(gossip));
    }
    let refusals = pusher.refusals();
    found.extend(senders::found(&refusals, Clock::System.now_ms()));
    let by_default = config.limits.push.accept_ha_samples;
    found.extend(deduplication(tracker.is_some(), by_default, limits));
    if config.distributor.push.downstream.is_empty() {
        found.push(no_downstream());
    }
    found.extend(downstreams(pusher));
    found.extend(runtime_configuration(limits));
    found.extend(multi_kv_config(multi.as_ref(), limits));
    found.extend(unusable_files(&files.failing()));
    found
}

fn unusable_files(failing: &[Failing]) -> Option<Found> {
    let since_ms = failing.iter().map(|failing| failing.since_ms).min()?;
    let named = failing.iter().take(NAMED);
    let named: Vec<String> = named
        .map(|Failing { name, error, .. }| format!("{name}: {error}"))
        .collect();
    let found = Found::new(
        Severity::Warning,
        Component::Server,
        "files",
        format!(
            "Files have changed and cannot be used: {}",
            named.join("; ")
        ),
        "What they said before stays in use, until a certificate in it expires or the process ends. \
         Correct the files; they are read again within seconds",
    );
    Some(found.since(since_ms).told())
}

fn not_ready(readiness: &Readiness) -> Vec<Found> {
    let reasons = readiness.not_ready_because().into_iter();
    reasons
        .map(|reason| {
            Found::new(
                Severity::Critical,
                Component::Server,
                "not_ready",
                format!("Not ready: {reason}"),
                "Until then, senders get 503 and retry. If this lasts, check whether the store, \
                 or the other members, can be reached from here",
            )
            .told()
        })
        .collect()
}

fn store(tracker: &HaTracker, kind: StoreKind) -> Option<Found> {
    let outage = tracker.store_outage()?;
    let found = Found::new(
        Severity::Critical,
        Component::Store,
        "outage",
        format!(
            "The store of the elections ({}) is failing: {}",
            kind.as_str(),
            outage.what
        ),
        "Known clusters are not affected, but nothing fails over, and senders of new clusters \
         get 503 and retry. Check whether the store runs and can be reached from here",
    );
    Some(found.since(outage.since_ms).told())
}

fn clocks(tracker: &HaTracker) -> Option<Found> {
    let skew = tracker.clock_skew()?;
    let found = Found::new(
        Severity::Warning,
        Component::HaTracker,
        "clock_skew",
        format!(
            "The clock of another distributor is {:.1} s or more ahead of this one's, or this \
             one's is behind: failovers are late, and elections can be lost. Last seen in \
             cluster {:?} of tenant {:?}",
            skew.ahead_ms as f64 / 1000.0,
            skew.cluster,
            skew.tenant
        ),
        "Compare the clocks of all distributors, and synchronize them by NTP",
    );
    Some(found.since(skew.since_ms).told())
}

fn sender_clocks(tracker: &HaTracker) -> Option<Found> {
    let ahead = tracker.senders_ahead()?;
    let [tenant, cluster, replica] = &ahead.furthest;
    let found = Found::new(
        Severity::Warning,
        Component::Senders,
        "clocks_ahead",
        format!(
            "Samples are later than this clock when they arrive, from {} replicas; the furthest \
             ahead, by {:.1} s, is {replica:?} of cluster {cluster:?} of tenant {tenant:?}",
            ahead.replicas,
            ahead.ahead_ms as f64 / 1000.0,
        ),
        "Compare the clocks of the replicas and of this distributor, and synchronize them by NTP; \
         if only some targets are concerned, they set wrong timestamps",
    );
    Some(found.told())
}

fn redundancy(tracker: &HaTracker) -> Option<Found> {
    let lost = tracker.redundancy_lost()?;
    let [tenant, cluster, replica] = &lost.example;
    Some(Found::new(
        Severity::Warning,
        Component::Senders,
        "redundancy_lost",
        format!(
            "This distributor has seen only one replica of {} clusters for 15 minutes, among them \
             {replica:?} of cluster {cluster:?} of tenant {tenant:?}",
            lost.clusters,
        ),
        "Check whether the other replicas run and send. If they send to other distributors, nothing \
         is wrong: max by (user, cluster) (cortex_ha_tracker_replicas_seen) over all distributors is \
         then 2 or more",
    ))
}

/// Whether gossip is alone although other members are configured.
fn alone(gossip: &Inspector, join_members: &[String]) -> Option<Found> {
    let is_alone = gossip.waiting_for().is_none() && gossip.other_members() == 0;
    (is_alone && !join_members.is_empty()).then(|| {
        Found::new(
            Severity::Warning,
            Component::Memberlist,
            "alone",
            format!(
                "No other member is seen, although memberlist.join_members names some ({}): this \
                 distributor holds elections alone, and samples of pairs that also send to other \
                 distributors may be stored twice",
                join_members.join(", ")
            ),
            "Check whether the others run, have the same cluster_label and encryption_keys, and \
             can be reached from here by TCP and UDP at memberlist.bind_port. If this is meant \
             to be the only distributor, nothing is wrong",
        )
    })
}

/// Whether the members speak different protocols.
fn disagreement(gossip: &Inspector) -> Option<Found> {
    let who = gossip.disagreement()?;
    Some(
        Found::new(
            Severity::Warning,
            Component::Memberlist,
            "protocols_differ",
            format!("Gossip: {who}"),
            "Set memberlist.protocol to the same on all distributors: memberlist to be in one ring \
             with Mimir's members",
        )
        .told(),
    )
}

/// Whether another program uses the gossip port.
fn other_protocol(gossip: &Inspector) -> Option<Found> {
    let foreigner = gossip.last_foreigner()?;
    (foreigner.at.elapsed() < FOREIGNER_LASTS).then(|| {
        Found::new(
            Severity::Warning,
            Component::Memberlist,
            "other_protocol",
            format!(
                "The gossip port receives {} from {}, and this distributor speaks {}",
                foreigner.protocol,
                foreigner.from,
                gossip.protocol().protocol.as_str()
            ),
            "If both are to be in one ring, set the same memberlist.protocol on all distributors: \
             memberlist for a ring that has members of Mimir. If not, give the other program and the \
             distributors different ports, and name no address of one in the other's join_members",
        )
        .told()
    })
}

/// Whether deduplication is configured.
fn deduplication(has_tracker: bool, by_default: bool, limits: &TenantLimits) -> Option<Found> {
    let accepts = by_default
        || limits
            .snapshot()
            .tenants()
            .any(|(_, limits)| limits.push.accept_ha_samples);
    let (kind, what, remedy) = match (has_tracker, accepts) {
        (true, true) => return None,
        (false, accepts) => (
            "tracker_off",
            if accepts {
                "The HA tracker is off, although limits.accept_ha_samples is on: nothing is \
                 deduplicated"
            } else {
                "The HA tracker is off: nothing is deduplicated"
            },
            "Set distributor.ha_tracker.enable_ha_tracker: true if Prometheus servers send in pairs",
        ),
        (true, false) => (
            "nobody_accepts",
            "No tenant has limits.accept_ha_samples: the HA tracker is on, and nothing is \
             deduplicated",
            "Set limits.accept_ha_samples: true, or overrides of it in the runtime configuration",
        ),
    };
    Some(Found::new(
        Severity::Warning,
        Component::HaTracker,
        kind,
        what,
        remedy,
    ))
}

fn no_downstream() -> Found {
    Found::new(
        Severity::Critical,
        Component::Server,
        "no_downstream",
        "No downstream is configured: accepted samples are counted and dropped",
        "Set distributor.downstream",
    )
    .told()
}

fn downstreams(pusher: &Pusher) -> impl Iterator<Item = Found> {
    pusher.downstream_outages().into_iter().map(|outage| {
        Found::new(
            Severity::Critical,
            Component::Downstream(outage.name),
            "fails",
            format!(
                "Requests to it fail ({} so far): {}",
                outage.failures,
                without_end(&outage.what)
            ),
            "Senders keep their samples and try again: nothing is lost until their write-ahead \
             logs are truncated, after about two hours. Check whether the downstream runs, and \
             whether its URL and credentials here (distributor.downstream) are right",
        )
        .since(outage.since_ms)
        .told()
    })
}

/// In one line.
fn mistakes(errors: &ConfigErrors) -> String {
    let mut named: Vec<String> = errors
        .0
        .iter()
        .take(NAMED)
        .map(|error| without_end(&error.to_string()).to_owned())
        .collect();
    let more = errors.0.len().saturating_sub(NAMED);
    if more > 0 {
        named.push(format!("and {more} more mistakes"));
    }
    named.join("; ")
}

fn runtime_configuration(limits: &TenantLimits) -> Option<Found> {
    let refused = limits.refused()?;
    let found = Found::new(
        Severity::Warning,
        Component::RuntimeConfig,
        "refused",
        format!(
            "The runtime configuration is refused: {}",
            mistakes(&refused.mistakes)
        ),
        "Correct the files (runtime_config.file). The previous configuration stays in effect, \
         but a distributor that is restarted now does not start",
    );
    Some(found.since(refused.since_ms).told())
}

fn multi_kv_config(multi: Option<&MultiKv>, limits: &TenantLimits) -> Option<Found> {
    let Some(multi) = multi else {
        let is_overridden = limits.snapshot().multi_kv_config().is_some();
        return is_overridden.then(|| {
            Found::new(
                Severity::Warning,
                Component::RuntimeConfig,
                "multi_kv_config_unused",
                "The runtime configuration has a multi_kv_config, which has no effect with this \
                 store, but would take effect at once with store: multi",
                "Remove it",
            )
        });
    };
    let refused = multi.refused.load_full()?;
    let found = Found::new(
        Severity::Warning,
        Component::MultiKv,
        "multi_kv_config",
        format!("The runtime configuration's multi_kv_config is refused: {refused}"),
        "Correct it; the previous settings stay in effect",
    );
    Some(found.told())
}
