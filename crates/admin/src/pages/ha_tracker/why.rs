//! `/distributor/ha_tracker/why`: "why was this dropped?", for a tenant, a cluster and a replica.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use distributor_config::TenantLimits;
use explanation::{Answer, Question, Rules, Sample, Scope, View, answer};
use ha_failover::FailoverMode;
use ha_tracker::{Clock, HaTracker};
use kv_core::visible;
use maud::{Markup, html};
use serde::Deserialize;

use super::links;
use super::rows::Row;
use crate::accept::wants_json;
use crate::answer::{HTML, JSON};
use crate::health::{Condition, Health};
use crate::lending::Renderer;
use crate::pages::PageRenderer;
use crate::pages::conditions::condition_html;
use crate::pages::frame::layout;
use crate::pages::times::rfc3339;
use crate::routes::Page;

/// Similar names that are searched for.
const SIMILAR: usize = 20;

#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) tracker: Option<Arc<HaTracker>>,
    pub(crate) limits: TenantLimits,
    pub(crate) health: Arc<Health>,
    pub(crate) renderer: Arc<PageRenderer>,
}

/// What is asked; without tenant and cluster, the form alone is shown.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    tenant: String,
    #[serde(default)]
    cluster: String,
    #[serde(default)]
    replica: String,
}

impl Asked {
    fn question(&self) -> Option<Question> {
        let is_complete = !self.tenant.is_empty() && !self.cluster.is_empty();
        is_complete.then(|| Question {
            tenant: self.tenant.clone(),
            cluster: self.cluster.clone(),
            replica: Some(self.replica.clone()).filter(|replica| !replica.is_empty()),
        })
    }
}

pub(crate) async fn page(
    State(parts): State<Parts>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    let (tracker, limits) = (parts.tracker.clone(), parts.limits.clone());
    let conditions = parts.health.conditions();
    let json = wants_json(&headers);
    // Similar names are searched for among all clusters.
    let write = move |page: &mut Renderer| {
        let now_ms = Clock::System.now_ms();
        let answer = asked.question().map(|question| {
            let view = view(tracker.as_deref(), &limits, &question, now_ms);
            let seen = [("this distributor".to_owned(), Ok(view))];
            answer(&seen, &question, Scope::ThisOne)
        });
        if json {
            return page.write_json(&answer);
        }
        let content = content(&asked, answer.as_ref(), &conditions, now_ms);
        page.write_str(&layout(Page::Why.route().title, &content).into_string())
    };
    let content_type = if json { JSON } else { HTML };
    parts.renderer.answer(&headers, content_type, write).await
}

/// What this distributor knows.
fn view(
    tracker: Option<&HaTracker>,
    limits: &TenantLimits,
    question: &Question,
    now_ms: i64,
) -> View {
    let Question {
        tenant, cluster, ..
    } = question;
    let limits = limits.limits(tenant);
    let status = tracker.and_then(|tracker| tracker.cluster_status(tenant, cluster, now_ms));
    let (mut clusters, mut similar) = (0, Vec::new());
    if let Some(tracker) = tracker.filter(|_| status.is_none()) {
        tracker.visit_names(|of_tenant, name| {
            if of_tenant != tenant {
                return;
            }
            clusters += 1;
            let is_similar = name.contains(cluster.as_str()) || cluster.contains(name);
            if is_similar && similar.len() < SIMILAR {
                similar.push(name.to_owned());
            }
        });
    }
    View {
        is_tracker_enabled: tracker.is_some(),
        rules: Rules {
            accepts_ha: limits.push.accept_ha_samples,
            failover_timeout: Some(limits.elections.failover_timeout),
            cluster_label: limits.push.ha_cluster_label.clone(),
            replica_label: limits.push.ha_replica_label.clone(),
            max_clusters: limits.elections.max_clusters,
            is_per_sample: limits.push.ha_tracker_per_sample_dedupe,
            is_lossless: limits.failover.mode == FailoverMode::Lossless,
        },
        elected: status.map(|status| Row::new(status, now_ms).json()),
        now: rfc3339(now_ms),
        similar,
        clusters: Some(clusters),
    }
}

fn content(
    asked: &Asked,
    answer: Option<&Answer>,
    conditions: &[Condition],
    now_ms: i64,
) -> Markup {
    html! {
        p.note { "Who is elected in a cluster and why, what becomes of a sample of a replica now and until when, and what to do. As this distributor sees it; " code { "distributor explain" } " asks all of a fleet." }
        form method="get" action=(Page::Why.route().path) {
            @for (name, title, value, is_required) in [("tenant", "Tenant (X-Scope-OrgID)", &asked.tenant, true), ("cluster", "Cluster", &asked.cluster, true), ("replica", "Replica (may be empty)", &asked.replica, false)] {
                label { (title) input name=(name) value=(visible(value)) required[is_required] autocomplete="off" spellcheck="false"; }
            }
            button.primary { "Explain" }
        }
        @if let Some(answer) = answer { (answer_html(asked, answer, conditions, now_ms)) }
    }
}

fn answer_html(asked: &Asked, answer: &Answer, conditions: &[Condition], now_ms: i64) -> Markup {
    html! {
        h2 { "Answer" }
        @if let Some(sample) = answer.sample {
            div class={ "notice " (class(sample)) } { p.verdict { "A sample of " (visible(&asked.replica)) ": " (word(sample)) "." } }
        }
        @for sentence in &answer.sentences { p { (visible(sentence)) } }
        @if !answer.advice.is_empty() {
            h2 { "What to do" }
            ul.advice { @for advice in &answer.advice { li { (visible(advice)) } } }
        }
        @if answer.elected.is_some() {
            ul.links aria-label="More" { li { a href=(links::cluster(&asked.tenant, &asked.cluster)) { "Replicas and history of this cluster" } } }
        }
        @if !conditions.is_empty() {
            h2 { "What else needs attention here" }
            @for condition in conditions { (condition_html(condition, now_ms)) }
        }
    }
}

fn word(sample: Sample) -> &'static str {
    match sample {
        Sample::Stored => "stored (200)",
        Sample::Deduplicated => "acknowledged and dropped (202)",
        Sample::Refused => "refused (400)",
        Sample::Differs => "depends on the distributor",
    }
}

fn class(sample: Sample) -> &'static str {
    match sample {
        Sample::Stored => "fine",
        Sample::Deduplicated => "warning",
        Sample::Refused | Sample::Differs => "critical",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_needs_tenant_and_cluster() {
        let asked = |tenant: &str, cluster: &str, replica: &str| Asked {
            tenant: tenant.into(),
            cluster: cluster.into(),
            replica: replica.into(),
        };
        assert_eq!(asked("", "c", "r").question(), None);
        assert_eq!(asked("t", "", "r").question(), None);
        assert_eq!(asked("t", "c", "").question().unwrap().replica, None);
    }

    #[test]
    fn hostile_names_are_harmless() {
        let asked = Asked {
            tenant: "<b>".into(),
            cluster: "\"><script>".into(),
            replica: "\u{202e}".into(),
        };
        let answer = Answer {
            elected: Some("<i>".into()),
            sample: Some(Sample::Deduplicated),
            sentences: vec!["<i>\u{1b}".into()],
            advice: vec!["<u>".into()],
            is_well: true,
        };
        let page = content(&asked, Some(&answer), &[], 0).into_string();
        for hostile in ["<b>", "<script>", "<i>", "<u>", "\u{202e}", "\u{1b}"] {
            assert!(!page.contains(hostile), "{hostile:?} is in {page}");
        }
        assert!(page.contains("acknowledged and dropped (202)"), "{page}");
    }
}
