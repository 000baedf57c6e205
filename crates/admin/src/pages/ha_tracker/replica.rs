//! What is shown of a replica: its ages, how it sends, and the button that elects it.

use admin_api::ClusterState as State;
use kv_core::visible;
use maud::{Markup, html};

use super::rows::{Row, Seen};
use crate::pages::times::{ago, rfc3339, rough};
use crate::routes::Page;

/// How a replica sends, as far as it was seen here.
pub(super) fn habits(seen: &Seen, now_ms: i64) -> Markup {
    html! {
        @if let Some(cadence_ms) = seen.cadence_ms { span.sub { "sends every " (rough(cadence_ms)) } }
        (warnings(seen, now_ms))
    }
}

/// What is wrong with how it sends.
pub(super) fn warnings(seen: &Seen, now_ms: i64) -> Markup {
    html! {
        @if let Some(ahead_ms) = seen.ahead_ms.filter(|_| seen.is_clock_ahead) {
            span.sub.caution title="Its newest sample is later than this distributor's clock: synchronize the clocks by NTP" { "clock ahead by " (rough(ahead_ms)) }
        }
        @if let Some(refused_ms) = seen.refused_ms { span.sub title=(rfc3339(refused_ms)) { "refused " (ago(now_ms, refused_ms)) } }
    }
}

/// The age of the newest sample of its last request.
pub(super) fn sample_age(seen: &Seen, now_ms: i64) -> Markup {
    html! {
        @match seen.sample_ms {
            Some(sample_ms) => span title=(rfc3339(sample_ms)) { (ago(now_ms, sample_ms)) },
            None => span.note { "–" },
        }
    }
}

/// When another replica is elected.
pub(super) fn failover(row: &Row) -> Markup {
    let in_ms = row.failover_in_ms;
    html! {
        @match row.state {
            State::Silent => span.bad { "no replica to elect for " (rough(in_ms)) },
            State::FailoverDue => span.bad { "due for " (rough(in_ms)) },
            State::Late => span.caution { "in " (rough(in_ms)) },
            State::Alone | State::Fine => span.note { "after " (rough(row.allowed_silence_ms)) " of silence" },
        }
    }
}

/// The button that leads to the confirmation; nothing if the form cannot contain a name.
pub(super) fn elect_button(row: &Row, replica: &str) -> Markup {
    html! {
        @if is_plain([&row.tenant, &row.cluster, replica]) { form method="get" action=(Page::HandOver.route().path) {
            input type="hidden" name="tenant" value=(row.tenant);
            input type="hidden" name="cluster" value=(row.cluster);
            input type="hidden" name="replica" value=(replica);
            button { "Elect it…" span.unseen { " (" (replica) ")" } }
        } }
    }
}

/// Whether no name has characters that a page must not contain, as a form would have to. Such a
/// replica can be elected over the API.
pub(super) fn is_plain(names: [&str; 3]) -> bool {
    names.into_iter().all(|name| visible(name) == name)
}
