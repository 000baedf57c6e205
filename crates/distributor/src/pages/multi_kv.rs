//! `/distributor/multi_kv`: primary and secondary of a multi store, and what differs between them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use admin_api::{MultiKv, MultiStore, Override};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use ha_tracker::{Clock, ReplicaDesc};
use kv_core::visible;
use kv_multi::{BackfillState, Comparison, Difference, MirrorFailure, Reason, Status};
use maud::{Markup, html};

use super::memberlist::desc_json;
use super::times::{ago, rfc3339};
use super::{json, parts, wants_json};
use crate::app::Shared;
use crate::config::{MultiKvOverride, MultiSettings, format_duration};
use crate::multi::Multi;

/// A comparison that is not older is shown again: each costs both stores a listing.
const MAX_AGE: Duration = Duration::from_secs(5);
/// Whoever opens the page does not wait longer for a new one.
const PATIENCE: Duration = Duration::from_secs(3);
/// If none is made in that time, one that is not older will do: large stores take longer.
const STILL_GOOD: Duration = Duration::from_secs(30);

type Compared = Result<Arc<Comparison<ReplicaDesc>>, String>;

pub(crate) async fn page(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let tracker = &shared.config.distributor.ha_tracker;
    let wanted = shared.limits.snapshot().multi_kv_config().cloned();
    let Some(multi) = &shared.multi else {
        let store = tracker
            .enable_ha_tracker
            .then(|| tracker.kvstore.store.as_str());
        if wants_json(&headers) {
            return json(&MultiKv {
                store: store.map(str::to_owned),
                overridden: wanted.as_ref().map(override_json),
                multi: None,
            });
        }
        return super::page("Multi KV", &not_used(store, wanted.as_ref()));
    };
    let compared = compare(multi).await;
    let view = View {
        configured: &tracker.kvstore.multi,
        wanted,
        refused: multi.refused(),
        status: multi.store.status(),
        compared,
    };
    if wants_json(&headers) {
        return json(&view.json());
    }
    super::page("Multi KV", &view.html(Clock::System.now_ms()))
}

async fn compare(multi: &Multi) -> Compared {
    match tokio::time::timeout(PATIENCE, multi.store.compare(MAX_AGE)).await {
        Ok(made) => made.map_err(|error| error.to_string()),
        Err(_) => multi.store.last_comparison(STILL_GOOD).ok_or_else(|| {
            let waited = PATIENCE.as_secs();
            format!("not both stores have shown what they have within {waited} s")
        }),
    }
}

fn override_json(wanted: &MultiKvOverride) -> Override {
    Override {
        mirror_enabled: wanted.mirror_enabled,
        primary: wanted.primary.clone(),
    }
}

fn not_used(store: Option<&str>, wanted: Option<&MultiKvOverride>) -> Markup {
    html! {
        @if wanted.is_some() {
            div.notice.warning { p { "The runtime configuration has a " code { "multi_kv_config" } ", which means nothing here, and would take effect at once with "
                code { "store: multi" } ". Take it away." } }
        }
        p { "The multi store is not used here: "
            @match store {
                Some(store) => { "the elections are kept in " b { (store) } " alone (" code { "distributor.ha_tracker.kvstore.store" } ")." },
                None => { "the HA tracker is off (" code { "distributor.ha_tracker.enable_ha_tracker" } ")." },
            }
        }
    }
}

struct View<'a> {
    configured: &'a MultiSettings,
    wanted: Option<MultiKvOverride>,
    refused: Option<Arc<String>>,
    status: Status,
    compared: Compared,
}

fn unix_ms(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn time(at: SystemTime) -> String {
    rfc3339(unix_ms(at))
}

impl View<'_> {
    fn json(&self) -> MultiKv {
        let Status {
            mirror, backfill, ..
        } = &self.status;
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
            comparison: self.compared.as_deref().ok().map(comparison_json),
            comparison_error: self.compared.as_ref().err().cloned(),
            configured: admin_api::Configured {
                mirror_enabled: self.configured.mirroring.mirror_enabled,
                mirror_timeout: format_duration(self.configured.mirroring.mirror_timeout),
                primary: self.configured.primary.clone(),
                secondary: self.configured.secondary.clone(),
            },
            mirror: admin_api::Mirror {
                last_error: mirror.last_error.as_ref().map(failure_json),
                pending_keys: mirror.pending_keys as u64,
                write_errors_total: mirror.write_errors_total,
                writes_total: mirror.writes_total,
            },
            mirror_enabled: self.status.mirror_enabled,
            primary: self.status.primary.to_owned(),
            refused: self.refused.as_deref().cloned(),
            secondary: self.status.secondary.to_owned(),
            since: time(self.status.since),
        };
        MultiKv {
            store: Some("multi".to_owned()),
            overridden: self.wanted.as_ref().map(override_json),
            multi: Some(multi),
        }
    }

    fn html(&self, now_ms: i64) -> Markup {
        let Status {
            mirror, backfill, ..
        } = &self.status;
        let since = unix_ms(self.status.since);
        html! {
            @if let Some(refused) = &self.refused {
                div.notice.warning { p { "The runtime configuration's " code { "multi_kv_config" } " is refused: " (visible(refused)) ". What was in effect stays." } }
            }
            h2 { "In effect" }
            div.scroll role="region" aria-label="In effect" tabindex="0" { table { tbody {
                tr { th scope="row" { "Primary" } td { b { (self.status.primary) } " – read, and decides" } }
                tr { th scope="row" { "Secondary" } td { b { (self.status.secondary) } @if self.status.mirror_enabled { " – written to" } @else { " – not used" } } }
                tr { th scope="row" { "Mirroring" } td { @if self.status.mirror_enabled { "on" } @else { "off" } } }
                tr { th scope="row" { "Since" } td title=(rfc3339(since)) { (ago(now_ms, since)) } }
                tr { th scope="row" { "Configured" } td { (settings_text(&self.configured.primary, self.configured.mirroring.mirror_enabled)) } }
                tr { th scope="row" { "Overridden" } td { (override_text(self.wanted.as_ref())) } }
            } } }
            @if self.status.mirror_enabled || mirror.writes_total > 0 {
                h2 { "Mirroring" }
                div.scroll role="region" aria-label="Mirroring" tabindex="0" { table { tbody {
                    tr { th scope="row" { "Writes" } td.num { (mirror.writes_total) } }
                    tr { th scope="row" { "Failed" } td.num.bad[mirror.write_errors_total > 0] { (mirror.write_errors_total) } }
                    tr { th scope="row" { "Waiting" } td.num { (mirror.pending_keys) } }
                    @if let Some(failure) = &mirror.last_error {
                        tr { th scope="row" { "Last failure" } td { (ago(now_ms, unix_ms(failure.at))) ", " code { (visible(&failure.key)) } ": " (visible(&failure.error)) } }
                    }
                    tr { th scope="row" { "Backfill" } td { (backfill_text(backfill.state))
                        @if backfill.pending_keys > 0 { ", " (backfill.pending_keys) " keys to copy" } } }
                    tr { th scope="row" { "Copied" } td.num { (backfill.copied_keys_total) @if backfill.failed_keys_total > 0 { ", failed: " (backfill.failed_keys_total) } } }
                } } }
            }
            h2 { "Comparison" }
            (comparison_html(&self.compared, now_ms))
        }
    }
}

fn settings_text(primary: &str, mirror_enabled: bool) -> String {
    let mirroring = if mirror_enabled { "on" } else { "off" };
    format!("primary {primary}, mirroring {mirroring}")
}

fn override_text(wanted: Option<&MultiKvOverride>) -> String {
    let Some(wanted) = wanted else {
        return "no".to_owned();
    };
    let primary = wanted.primary.iter().map(|name| format!("primary {name}"));
    let mirroring = wanted.mirror_enabled.iter().map(|enabled| match enabled {
        true => "mirroring on".to_owned(),
        false => "mirroring off".to_owned(),
    });
    let parts: Vec<String> = primary.chain(mirroring).collect();
    format!("{} (runtime configuration)", parts.join(", "))
}

fn backfill_text(state: BackfillState) -> &'static str {
    match state {
        BackfillState::Off => "off",
        BackfillState::Running => "running: the secondary was not seen complete yet",
        BackfillState::Complete => "complete",
    }
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

fn comparison_html(compared: &Compared, now_ms: i64) -> Markup {
    let compared = match compared {
        Ok(compared) => compared,
        Err(error) => {
            return html! { div.notice.warning { p { "The stores could not be compared: " (visible(error)) "." } } };
        }
    };
    let at = unix_ms(compared.at);
    let differing: usize = Reason::ALL
        .iter()
        .map(|reason| compared.count(*reason))
        .sum();
    html! {
        p.note { "Made " (ago(now_ms, at)) ", in " (compared.took.as_millis()) " ms. "
            (compared.primary) " has " (compared.primary_keys) " keys, "
            (compared.secondary) " has " (compared.secondary_keys) "." }
        @if compared.undecodable > 0 { div.notice.warning { p { (compared.undecodable) " values cannot be decoded and were not compared." } } }
        @if differing == 0 {
            p { "No difference: what one store has, the other has." }
        } @else {
            div.scroll role="region" aria-label="Kinds of difference" tabindex="0" { table {
                thead { tr { th scope="col" { "Difference" } th scope="col" { "Keys" } th scope="col" { "What it means" } } }
                tbody { @for reason in Reason::ALL {
                    @if compared.count(reason) > 0 {
                        tr { td { (reason.as_str()) } td.num.bad[reason.is_behind()] { (compared.count(reason)) } td { (meaning(reason)) } }
                    }
                } }
            } }
            div.scroll role="region" aria-label="Differing keys" tabindex="0" { table {
                thead { tr { th scope="col" { "Key" } th scope="col" { "Difference" } th scope="col" { "In " (compared.primary) } th scope="col" { "In " (compared.secondary) } } }
                tbody { @for difference in &compared.differences { (row(difference, now_ms)) } }
            } }
            @if differing > compared.differences.len() {
                p.note { (compared.differences.len()) " of " (differing) " keys." }
            }
        }
    }
}

fn meaning(reason: Reason) -> &'static str {
    match reason {
        Reason::Missing => {
            "The secondary has no value. Switching to it now would lose these elections."
        }
        Reason::Older => {
            "The secondary has an older value. Switching to it now would lose what is newer."
        }
        Reason::Newer => {
            "The secondary has a newer value: another distributor uses it as its primary, or wrote it and did not get to mirror it."
        }
        Reason::Extra => {
            "Only the secondary has a value: left from before, or written by a distributor that uses it as its primary."
        }
    }
}

fn row(difference: &Difference<ReplicaDesc>, now_ms: i64) -> Markup {
    let value = |desc: &Option<ReplicaDesc>| match desc {
        None => "–".to_owned(),
        Some(desc) => format!(
            "{}, elected {}, last sample {}{}",
            desc.replica,
            ago(now_ms, desc.elected_at),
            ago(now_ms, desc.received_at),
            if desc.is_deleted() {
                ", marked for deletion"
            } else {
                ""
            }
        ),
    };
    html! {
        tr {
            td.name { (parts::name(&difference.key)) }
            td { (difference.reason.as_str()) }
            td { (visible(&value(&difference.primary))) }
            td { (visible(&value(&difference.secondary))) }
        }
    }
}
