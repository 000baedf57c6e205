//! The page for programs.

use std::time::{Duration, SystemTime};

use admin_api::{MultiKv, MultiStore, Override};
use distributor_config::{MultiKvOverride, format_duration};
use ha_tracker::ReplicaDesc;
use kv_multi::{BackfillState, Comparison, Difference, MirrorFailure, Reason, Status};

use super::view::{View, unix_ms};
use crate::pages::replica_desc::desc_json;
use crate::pages::times::rfc3339;

/// Of any other store; `None` without the HA tracker.
pub(super) fn other(store: Option<&str>, wanted: Option<&MultiKvOverride>) -> MultiKv {
    MultiKv {
        store: store.map(str::to_owned),
        overridden: wanted.map(override_json),
        multi: None,
    }
}

/// Of a multi store.
pub(super) fn multi(view: &View<'_>) -> MultiKv {
    let Status {
        mirror, backfill, ..
    } = &view.status;
    let multi = MultiStore {
        backfill: admin_api::Backfill {
            copied_keys_total: backfill.copied_keys_total,
            failed_keys_total: backfill.failed_keys_total,
            pending_keys: backfill.pending_keys,
            state: match backfill.state {
                BackfillState::Off => admin_api::BackfillState::Off,
                BackfillState::Running => admin_api::BackfillState::Running,
                BackfillState::Complete => admin_api::BackfillState::Complete,
            },
        },
        comparison: view.compared.as_deref().ok().map(comparison_json),
        comparison_error: view.compared.as_ref().err().cloned(),
        configured: admin_api::Configured {
            mirror_enabled: view.configured.mirroring.mirror_enabled,
            mirror_timeout: format_duration(view.configured.mirroring.mirror_timeout),
            primary: view.configured.primary.clone(),
            secondary: view.configured.secondary.clone(),
        },
        mirror: admin_api::Mirror {
            last_error: mirror.last_error.as_ref().map(failure_json),
            pending_keys: mirror.pending_keys as u64,
            write_errors_total: mirror.write_errors_total,
            writes_total: mirror.writes_total,
        },
        mirror_enabled: view.status.mirror_enabled,
        primary: view.status.primary.to_owned(),
        refused: view.refused.as_deref().cloned(),
        secondary: view.status.secondary.to_owned(),
        since: time(view.status.since),
    };
    MultiKv {
        store: Some("multi".to_owned()),
        overridden: view.wanted.as_ref().map(override_json),
        multi: Some(multi),
    }
}

fn override_json(wanted: &MultiKvOverride) -> Override {
    Override {
        mirror_enabled: wanted.mirror_enabled,
        primary: wanted.primary.clone(),
    }
}

fn time(at: SystemTime) -> String {
    rfc3339(unix_ms(at))
}

fn failure_json(failure: &MirrorFailure) -> admin_api::MirrorFailure {
    admin_api::MirrorFailure {
        at: time(failure.at),
        error: failure.error.clone(),
        key: failure.key.clone(),
    }
}

fn comparison_json(compared: &Comparison<ReplicaDesc>) -> admin_api::Comparison {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let count = |reason| compared.count(reason) as u64;
    admin_api::Comparison {
        age_ms: compared.at.elapsed().map_or(0, ms),
        at: time(compared.at),
        differences: compared.differences.iter().map(difference_json).collect(),
        extra: count(Reason::Extra),
        missing: count(Reason::Missing),
        newer: count(Reason::Newer),
        older: count(Reason::Older),
        primary_keys: compared.primary_keys as u64,
        secondary_keys: compared.secondary_keys as u64,
        took_ms: ms(compared.took),
        undecodable: compared.undecodable as u64,
    }
}

fn difference_json(difference: &Difference<ReplicaDesc>) -> admin_api::Difference {
    admin_api::Difference {
        key: difference.key.clone(),
        primary: difference.primary.as_ref().map(desc_json),
        reason: match difference.reason {
            Reason::Missing => admin_api::Reason::Missing,
            Reason::Older => admin_api::Reason::Older,
            Reason::Newer => admin_api::Reason::Newer,
            Reason::Extra => admin_api::Reason::Extra,
        },
        secondary: difference.secondary.as_ref().map(desc_json),
    }
}
