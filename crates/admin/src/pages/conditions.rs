//! Shows conditions that need attention, for several pages.

use kv_core::visible;
use maud::{Markup, html};

use super::times::{ago, rfc3339};
use crate::health::Condition;

pub(super) fn condition_html(condition: &Condition, now_ms: i64) -> Markup {
    let severity = condition.severity.as_str();
    html! {
        div class={ "notice " (severity) } {
            p { b { (visible(&condition.component.to_string())) ": " (severity) }
                span.note title=(rfc3339(condition.since_ms)) { "since " (rfc3339(condition.since_ms)) " (" (ago(now_ms, condition.since_ms)) ")" } }
            p { (visible(&condition.what)) "." }
            p.note { (visible(&condition.remedy)) "." }
        }
    }
}

pub(super) fn condition_json(condition: &Condition) -> admin_api::Condition {
    admin_api::Condition {
        component: condition.component.to_string(),
        remedy: condition.remedy.clone(),
        severity: condition.severity,
        since: rfc3339(condition.since_ms),
        what: condition.what.clone(),
    }
}
