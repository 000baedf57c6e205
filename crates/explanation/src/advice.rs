//! What to do.

use std::time::Duration;

use admin_api::{Elected, Habits};

use crate::words::{about, between};
use crate::{Question, Rules, Scope, View};

/// A clock that is ahead by less is not worth a word, ms.
const AHEAD_MS: i64 = 1_000;
/// A refusal that is older has nothing to do with what is missing now.
const RECENT: Duration = Duration::from_secs(10 * 60);

pub(crate) fn tracker_off() -> String {
    "To deduplicate, set distributor.ha_tracker.enable_ha_tracker: true.".to_owned()
}

pub(crate) fn accepts_off(tenant: &str) -> String {
    format!(
        "To deduplicate, set accept_ha_samples: true, in limits or in the runtime configuration's \
         overrides of {tenant:?}."
    )
}

/// The cluster is not known.
pub(crate) fn unknown(question: &Question, rules: &Rules, similar: bool) -> Vec<String> {
    let name = |name: &str, usual: &str| match name {
        "" => usual.to_owned(),
        name => name.to_owned(),
    };
    let cluster = name(&rules.cluster_label, "cluster");
    let replica = name(&rules.replica_label, "__replica__");
    let mut advice = vec![format!(
        "Check that the sender has the external labels {cluster}={:?} and {replica}, and that it sends \
         as tenant {:?} (X-Scope-OrgID).",
        question.cluster, question.tenant
    )];
    if similar {
        advice.push("Compare the name with the clusters named above.".to_owned());
    }
    advice
}

pub(crate) fn too_many(limit: u64) -> String {
    format!(
        "Raise limits.ha_max_clusters ({limit}), or check whether the cluster label changes all the \
         time, such as the name of a pod."
    )
}

/// The replica is elected, so its samples are stored: why some can be missing all the same.
pub(crate) fn elected(elected: &Elected, view: &View) -> Vec<String> {
    let mut advice = habits(&elected.replica, &elected.habits, view);
    if !view.rules.is_per_sample {
        advice.push(
            "If samples are missing although they were sent: a gateway that merges replicas has the \
             first series of a request decide for all; set limits.ha_tracker_per_sample_dedupe."
                .to_owned(),
        );
    }
    if elected.redundancy_lost {
        advice.push(format!(
            "Check the other replicas: only {:?} has been seen for 15 minutes, so nothing can take over.",
            elected.replica
        ));
    }
    advice
}

/// The replica is not elected, and is dropped.
pub(crate) fn dropped(replica: &str, elected: &Elected, view: &View, is_seen: bool) -> Vec<String> {
    let mut advice = Vec::new();
    if !is_seen {
        advice.push(format!(
            "Check the name {replica:?} and whether it sends here: no request of it has arrived in the last minutes."
        ));
    }
    let other = elected
        .other_replicas
        .iter()
        .find(|other| other.replica == replica);
    if let Some(other) = other {
        advice.extend(habits(replica, &other.habits, view));
    }
    advice.push(format!(
        "Nothing, if {:?} has the same data: one replica of a pair is stored, and this is the other \
         one. If their data differ, give each its own cluster label.",
        elected.replica
    ));
    advice.push(format!(
        "To have {replica:?} stored instead, hand the election over (distributor.ha_tracker.enable_handover)."
    ));
    advice
}

/// The elected replica is overdue.
pub(crate) fn overdue(elected: &Elected, scope: Scope) -> Vec<String> {
    let mut advice = vec![format!(
        "Check whether {:?} runs and reaches the distributors.",
        elected.replica
    )];
    if elected.other_replicas.is_empty() {
        advice.push("Check the other replicas too: none is seen that could take over.".to_owned());
    } else if scope == Scope::ThisOne {
        advice.push(
            "If no failover follows, check the store: the index page lists what is failing."
                .to_owned(),
        );
    }
    advice
}

fn habits(replica: &str, habits: &Habits, view: &View) -> Vec<String> {
    let mut advice = Vec::new();
    let refused = habits.last_refused.as_deref();
    let refused = refused.and_then(|refused| between(refused, &view.now));
    if let Some(ago) = refused.filter(|ago| *ago <= RECENT) {
        advice.push(format!(
            "A request of {replica:?} was refused with 429 or 5xx {} ago: it sends it again. The index \
             page names what refuses.",
            about(ago)
        ));
    }
    let ahead = habits.clock_ahead_ms.filter(|ahead| *ahead > AHEAD_MS);
    if let Some(ahead) = ahead.and_then(|ahead| u64::try_from(ahead).ok()) {
        advice.push(format!(
            "Synchronize the clock of {replica:?} by NTP: its samples are {} later than this clock when \
             they arrive.",
            about(Duration::from_millis(ahead))
        ));
    }
    advice
}
