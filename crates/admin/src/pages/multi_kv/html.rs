//! The page for people.

use distributor_config::MultiKvOverride;
use ha_tracker::ReplicaDesc;
use kv_core::visible;
use kv_multi::{BackfillState, Difference, Reason, Status};
use maud::{Markup, html};

use super::view::{Compared, View, unix_ms};
use crate::pages::parts;
use crate::pages::times::{ago, rfc3339};

/// Of any other store; `None` without the HA tracker.
pub(super) fn other(store: Option<&str>, wanted: Option<&MultiKvOverride>) -> Markup {
    html! {
        @if wanted.is_some() {
            div.notice.warning { p { "The runtime configuration has a " code { "multi_kv_config" } ", which has no effect here, but would take effect at once with "
                code { "store: multi" } ". Remove it." } }
        }
        p { "The multi store is not used here: "
            @match store {
                Some(store) => { "the elections are kept in " b { (store) } " alone (" code { "distributor.ha_tracker.kvstore.store" } ")." },
                None => { "the HA tracker is off (" code { "distributor.ha_tracker.enable_ha_tracker" } ")." },
            }
        }
    }
}

/// Of a multi store.
pub(super) fn multi(view: &View<'_>, now_ms: i64) -> Markup {
    let Status {
        mirror, backfill, ..
    } = &view.status;
    let since = unix_ms(view.status.since);
    html! {
        @if let Some(refused) = &view.refused {
            div.notice.warning { p { "The runtime configuration's " code { "multi_kv_config" } " is refused: " (visible(refused)) ". The previous settings stay in effect." } }
        }
        h2 { "In effect" }
        div.scroll role="region" aria-label="In effect" tabindex="0" { table { caption.unseen { "In effect" } tbody {
            tr { th scope="row" { "Primary" } td { b { (view.status.primary) } " – read, and decides" } }
            tr { th scope="row" { "Secondary" } td { b { (view.status.secondary) } @if view.status.mirror_enabled { " – written to" } @else { " – not used" } } }
            tr { th scope="row" { "Mirroring" } td { @if view.status.mirror_enabled { "on" } @else { "off" } } }
            tr { th scope="row" { "Since" } td title=(rfc3339(since)) { (ago(now_ms, since)) } }
            tr { th scope="row" { "Configured" } td { (settings_text(&view.configured.primary, view.configured.mirroring.mirror_enabled)) } }
            tr { th scope="row" { "Overridden" } td { (override_text(view.wanted.as_ref())) } }
        } } }
        @if view.status.mirror_enabled || mirror.writes_total > 0 {
            h2 { "Mirroring" }
            div.scroll role="region" aria-label="Mirroring" tabindex="0" { table { caption.unseen { "Mirroring" } tbody {
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
        (comparison_html(&view.compared, now_ms))
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
        BackfillState::Running => "running: the secondary has not been complete yet",
        BackfillState::Complete => "complete",
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
            p { "No difference: both stores have the same entries." }
        } @else {
            div.scroll role="region" aria-label="Kinds of difference" tabindex="0" { table {
                caption.unseen { "Kinds of difference" }
                thead { tr { th scope="col" { "Difference" } th scope="col" { "Keys" } th scope="col" { "What it means" } } }
                tbody { @for reason in Reason::ALL {
                    @if compared.count(reason) > 0 {
                        tr { td { (reason.as_str()) } td.num.bad[reason.is_behind()] { (compared.count(reason)) } td { (meaning(reason)) } }
                    }
                } }
            } }
            div.scroll role="region" aria-label="Differing keys" tabindex="0" { table {
                caption.unseen { "Keys that differ" }
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
            "The secondary has an older value. Switching to it now would lose the newer value."
        }
        Reason::Newer => {
            "The secondary has a newer value: another distributor uses it as its primary, or has not mirrored it yet."
        }
        Reason::Extra => {
            "Only the secondary has a value: it is left over, or was written by a distributor that uses it as its primary."
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
