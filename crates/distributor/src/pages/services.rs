//! `/services`: the parts of this process, and how each is.

use std::sync::Arc;

use admin_api::{Services, Severity};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use ha_tracker::Clock;
use kv_core::visible;
use maud::html;

use super::index::{condition_html, condition_json};
use super::parts::scroll;
use super::{json, page, wants_json};
use crate::app::Shared;
use crate::health::{Component, Condition};

/// A part of the process.
struct Service {
    component: Component,
    /// What it is doing, if nothing is amiss.
    state: String,
    /// Where it is, or where it sends.
    address: Option<String>,
}

pub(crate) async fn services(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let services = services_of(&shared);
    let conditions = shared.health.conditions(&shared);
    let of = |component: &Component| -> Vec<&Condition> {
        let conditions = conditions.iter();
        conditions
            .filter(|condition| condition.component == *component)
            .collect()
    };
    if wants_json(&headers) {
        let services = services.iter().map(|service| {
            let conditions = of(&service.component);
            admin_api::Service {
                address: service.address.clone(),
                conditions: conditions.iter().map(|c| condition_json(c)).collect(),
                name: service.component.to_string(),
                status: status(service, &conditions),
            }
        });
        return json(&Services {
            services: services.collect(),
        });
    }
    let now_ms = Clock::System.now_ms();
    page(
        "Services",
        &scroll(
            "Services",
            &html! { table {
                thead { tr { th scope="col" { "Service" } th scope="col" { "Status" } } }
                tbody { @for service in &services {
                    @let conditions = of(&service.component);
                    tr {
                        td.name { (visible(&service.component.to_string()))
                            @if let Some(address) = &service.address { span.sub { (visible(address)) } } }
                        td { span class=(class(&conditions)) { (status(service, &conditions)) }
                            @for condition in conditions { (condition_html(condition, now_ms)) } }
                    }
                } }
            } },
        ),
    )
}

fn status(service: &Service, conditions: &[&Condition]) -> String {
    match conditions.first().map(|worst| worst.severity) {
        Some(Severity::Critical) => "Failing".to_owned(),
        Some(Severity::Warning) => "Needs attention".to_owned(),
        None => service.state.clone(),
    }
}

fn class(conditions: &[&Condition]) -> &'static str {
    match conditions.first().map(|worst| worst.severity) {
        Some(Severity::Critical) => "bad",
        Some(Severity::Warning) => "caution",
        None => "",
    }
}

fn services_of(shared: &Shared) -> Vec<Service> {
    let service = |component, state: String, address| Service {
        component,
        state,
        address,
    };
    let mut services = vec![service(Component::Server, "Running".to_owned(), None)];
    let tracker = match &shared.tracker {
        None => "Disabled (distributor.ha_tracker.enable_ha_tracker)".to_owned(),
        Some(tracker) if tracker.is_ready() => {
            format!("Running ({} clusters)", tracker.cluster_count())
        }
        Some(_) => "Starting (reading the store)".to_owned(),
    };
    services.push(service(Component::HaTracker, tracker, None));
    if shared.tracker.is_some() {
        let store = shared.config.distributor.ha_tracker.kvstore.store.as_str();
        services.push(service(
            Component::Store,
            format!("Running ({store})"),
            None,
        ));
    }
    if let Some(gossip) = &shared.gossip {
        let state = match gossip.waiting_for() {
            None => format!("Running (at {})", gossip.address()),
            Some(waiting) => format!("Starting ({})", visible(&waiting)),
        };
        let address = Some(gossip.address().to_string());
        services.push(service(Component::Memberlist, state, address));
    }
    if let Some(multi) = &shared.multi {
        let status = multi.store.status();
        let mirroring = if status.mirror_enabled {
            "mirrored to"
        } else {
            "not mirrored to"
        };
        let state = format!(
            "Running ({}, {mirroring} {})",
            status.primary, status.secondary
        );
        services.push(service(Component::MultiKv, state, None));
    }
    let files = &shared.config.runtime_config.files;
    let runtime = if files.is_empty() {
        "Disabled (no runtime_config.file)".to_owned()
    } else {
        format!("Running ({} files)", files.len())
    };
    services.push(service(Component::RuntimeConfig, runtime, None));
    services.push(service(Component::Senders, "Running".to_owned(), None));
    for downstream in &shared.config.distributor.downstream {
        services.push(service(
            Component::Downstream(downstream.name.clone()),
            "Running".to_owned(),
            Some(downstream.url.to_string()),
        ));
    }
    services
}
