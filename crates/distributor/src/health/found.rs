//! What is amiss in each part, as it says when it is asked.

use admin_api::Severity;
use ha_tracker::Clock;

use super::{Component, senders};
use crate::app::Shared;
use crate::config::ConfigErrors;

/// Mistakes of a file that are named; the log has all.
const NAMED: usize = 3;

/// Something found; see [`super::Condition`].
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) severity: Severity,
    pub(super) component: Component,
    /// What it is recognised by among those of its component.
    pub(super) kind: &'static str,
    pub(super) what: String,
    /// When it began, if its part knows; else when it was first found.
    pub(super) since_ms: Option<i64>,
    pub(super) remedy: String,
    /// Its part writes lines of its own when it begins and ends.
    pub(super) tells_itself: bool,
}

impl Found {
    pub(super) fn new(
        severity: Severity,
        component: Component,
        kind: &'static str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            component,
            kind,
            what: what.into(),
            since_ms: None,
            remedy: remedy.into(),
            tells_itself: false,
        }
    }

    /// It began at this time, Unix ms.
    pub(super) fn since(self, since_ms: i64) -> Self {
        Self {
            since_ms: Some(since_ms),
            ..self
        }
    }

    /// Its part writes lines of its own.
    pub(super) fn told(self) -> Self {
        Self {
            tells_itself: true,
            ..self
        }
    }
}

/// All that is amiss now, in no order.
pub(super) fn all(shared: &Shared) -> Vec<Found> {
    let mut found = readiness(shared);
    found.extend(store(shared));
    found.extend(clocks(shared));
    found.extend(gossip(shared));
    let refusals = shared.intake.pusher.refusals();
    found.extend(senders::found(&refusals, Clock::System.now_ms()));
    found.extend(deduplication(shared));
    found.extend(downstreams(shared));
    found.extend(runtime_configuration(shared));
    found
}

fn readiness(shared: &Shared) -> Vec<Found> {
    let reasons = shared.not_ready_because().into_iter();
    reasons
        .map(|reason| {
            Found::new(
                Severity::Critical,
                Component::Server,
                "not_ready",
                format!("Not ready: {reason}"),
                "Until it is, senders are told to retry; if it lasts, see whether the store, or the \
                 other members, can be reached from here",
            )
            .told()
        })
        .collect()
}

fn store(shared: &Shared) -> Option<Found> {
    let trouble = shared.tracker.as_ref()?.store_trouble()?;
    let kind = &shared.config.distributor.ha_tracker.kvstore.store;
    let found = Found::new(
        Severity::Critical,
        Component::Store,
        "trouble",
        format!(
            "The store of the elections ({}) is in trouble: {}",
            kind.as_str(),
            trouble.what
        ),
        "Known clusters go on, but nothing fails over, and senders of new clusters are told to \
         retry. See whether the store runs and can be reached from here",
    );
    Some(found.since(trouble.since_ms).told())
}

fn clocks(shared: &Shared) -> Option<Found> {
    let skew = shared.tracker.as_ref()?.clock_skew()?;
    let found = Found::new(
        Severity::Warning,
        Component::HaTracker,
        "clock_skew",
        format!(
            "The clock of another distributor is {:.1} s or more ahead of this one's, or this one's \
             is behind: failovers come late, and elections can be lost. Last told by cluster {:?} \
             of tenant {:?}",
            skew.ahead_ms as f64 / 1000.0,
            skew.cluster,
            skew.tenant
        ),
        "Compare the clocks of all distributors, and keep them by NTP",
    );
    Some(found.since(skew.since_ms).told())
}

/// Whether gossip goes on alone although it is to have company.
fn gossip(shared: &Shared) -> Option<Found> {
    let gossip = shared.gossip.as_ref()?;
    let join_members = &shared.config.memberlist.join_members;
    let is_alone = gossip.waiting_for().is_none() && gossip.other_members() == 0;
    (is_alone && !join_members.is_empty()).then(|| {
        Found::new(
            Severity::Warning,
            Component::Memberlist,
            "alone",
            format!(
                "No other member is seen, although memberlist.join_members names some ({}): this \
                 distributor elects by itself, and what pairs send to others as well may be stored \
                 twice",
                join_members.join(", ")
            ),
            "See whether the others run, have the same cluster_label and encryption_keys, and can \
             be reached from here by TCP and UDP at memberlist.bind_port. If this one is meant to be \
             the only one, nothing is wrong",
        )
    })
}

/// Whether what is sent twice is stored once, as configured.
fn deduplication(shared: &Shared) -> Option<Found> {
    let accepts = {
        let snapshot = shared.limits.snapshot();
        shared.config.limits.accept_ha_samples
            || snapshot
                .tenants()
                .any(|(_, limits)| limits.accept_ha_samples)
    };
    let (kind, what, remedy) = match (shared.tracker.is_some(), accepts) {
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

fn downstreams(shared: &Shared) -> Vec<Found> {
    let mut found = Vec::new();
    if shared.config.distributor.downstream.is_empty() {
        found.push(
            Found::new(
                Severity::Critical,
                Component::Server,
                "no_downstream",
                "No downstream is configured: accepted samples are counted and dropped",
                "Set distributor.downstream",
            )
            .told(),
        );
    }
    found.extend(shared.intake.pusher.downstream_troubles().into_iter().map(|trouble| {
        Found::new(
            Severity::Critical,
            Component::Downstream(trouble.name),
            "fails",
            format!(
                "Requests to it fail ({} so far): {}",
                trouble.failures,
                without_end(&trouble.what)
            ),
            "Senders keep their samples and try again: nothing is lost until their write-ahead logs \
             are cut, after about two hours. See whether the downstream runs, and whether its URL \
             and credentials here (distributor.downstream) are right",
        )
        .since(trouble.since_ms)
        .told()
    }));
    found
}

/// It becomes a part of a sentence.
pub(super) fn without_end(text: &str) -> &str {
    // What senders are told besides.
    let text = text.trim_end_matches(['\n', '.']);
    text.strip_suffix("; retry later").unwrap_or(text)
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

fn runtime_configuration(shared: &Shared) -> Vec<Found> {
    let mut found = Vec::new();
    found.extend(shared.limits.refused().map(|refused| {
        Found::new(
            Severity::Warning,
            Component::RuntimeConfig,
            "refused",
            format!(
                "The runtime configuration is refused: {}",
                mistakes(&refused.mistakes)
            ),
            "Correct the files (runtime_config.file). What was loaded before stays in effect, but a \
             distributor that is restarted now does not start",
        )
        .since(refused.since_ms)
        .told()
    }));
    let overrides_multi = shared.limits.snapshot().multi_kv_config().is_some();
    match &shared.multi {
        Some(multi) => found.extend(multi.refused().map(|refused| {
            Found::new(
                Severity::Warning,
                Component::MultiKv,
                "multi_kv_config",
                format!("The runtime configuration's multi_kv_config is refused: {refused}"),
                "Correct it; what was in effect stays",
            )
            .told()
        })),
        None if overrides_multi => found.push(Found::new(
            Severity::Warning,
            Component::RuntimeConfig,
            "multi_kv_config_unused",
            "The runtime configuration has a multi_kv_config, which means nothing with this store, \
             and would take effect at once with store: multi",
            "Take it away",
        )),
        None => {}
    }
    found
}
