//! `/services`: the parts of this process, and how each is.

use std::sync::Arc;

use admin_api::{Services, Severity};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use distributor_config::StoreKind;
use ha_tracker::{Clock, HaTracker, ReplicaDesc};
use kv_core::visible;
use kv_memberlist::Inspector;
use kv_multi::MultiStore;
use maud::html;

use super::conditions::{condition_html, condition_json};
use super::frame::html_page;
use super::parts::scroll;
use super::table::heading;
use crate::accept::wants_json;
use crate::answer::json;
use crate::health::{Component, Condition, Health};
use crate::routes::Page;
use crate::view::Admin;

/// The parts whose state is shown.
pub(crate) struct Parts {
    health: Arc<Health>,
    tracker: Option<Arc<HaTracker>>,
    store: StoreKind,
    gossip: Option<Inspector>,
    multi: Option<MultiStore<ReplicaDesc>>,
    runtime_config_files: usize,
    /// Names and URLs, without secrets.
    downstreams: Vec<(String, String)>,
}

/// A part of the process.
struct Service {
    component: Component,
    /// Its state, if it has no problem.
    state: String,
    /// Where it is, or where it sends.
    address: Option<String>,
}

pub(crate) async fn page(State(parts): State<Arc<Parts>>, headers: HeaderMap) -> Response {
    let services = parts.services();
    let conditions = parts.health.conditions();
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
    html_page(
        Page::Services.route().title,
        &scroll(
            "Services",
            &html! { table.rows role="table" {
                caption.unseen { "Services and their status" }
                thead role="rowgroup" { tr role="row" { (heading("Service")) (heading("Status")) } }
                tbody role="rowgroup" { @for service in &services {
                    @let conditions = of(&service.component);
                    tr role="row" data-key=(visible(&service.component.to_string())) {
                        th.name role="rowheader" scope="row" data-name="Service" { div { (visible(&service.component.to_string()))
                            @if let Some(address) = &service.address { span.sub { (visible(address)) } } } }
                        td role="cell" data-name="Status" { div { span class={ "chip " (class(service, &conditions)) } { (status(service, &conditions)) }
                            @for condition in conditions { (condition_html(condition, now_ms)) } } }
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

fn class(service: &Service, conditions: &[&Condition]) -> &'static str {
    match conditions.first().map(|worst| worst.severity) {
        Some(Severity::Critical) => "bad",
        Some(Severity::Warning) => "caution",
        None if service.state.starts_with("Running") => "good",
        None => "",
    }
}

impl Parts {
    pub(crate) fn new(admin: &Admin) -> Self {
        let distributor = &admin.config.distributor;
        let downstreams = distributor.push.downstream.iter();
        Self {
            health: Arc::clone(&admin.health),
            tracker: admin.tracker.clone(),
            store: distributor.ha_tracker.kvstore.store,
            gossip: admin.gossip.clone(),
            multi: admin.multi.as_ref().map(|multi| multi.store.clone()),
            runtime_config_files: admin.config.runtime_config.files.len(),
            downstreams: downstreams
                .map(|downstream| (downstream.name.clone(), downstream.url.to_string()))
                .collect(),
        }
    }

    fn services(&self) -> Vec<Service> {
        let service = |component, state: String, address| Service {
            component,
            state,
            address,
        };
        let running = || "Running".to_owned();
        let mut services = vec![service(Component::Server, running(), None)];
        let tracker = self.tracker.as_deref();
        services.push(service(Component::HaTracker, tracker_state(tracker), None));
        if tracker.is_some() {
            let state = format!("Running ({})", self.store.as_str());
            services.push(service(Component::Store, state, None));
        }
        if let Some(gossip) = &self.gossip {
            let address = Some(gossip.address().to_string());
            services.push(service(
                Component::Memberlist,
                gossip_state(gossip),
                address,
            ));
        }
        if let Some(multi) = &self.multi {
            services.push(service(Component::MultiKv, multi_state(multi), None));
        }
        let runtime = match self.runtime_config_files {
            0 => "Disabled (no runtime_config.file)".to_owned(),
            files => format!("Running ({files} files)"),
        };
        services.push(service(Component::RuntimeConfig, runtime, None));
        services.push(service(Component::Senders, running(), None));
        for (name, url) in &self.downstreams {
            let component = Component::Downstream(name.clone());
            services.push(service(component, running(), Some(url.clone())));
        }
        services
    }
}

fn tracker_state(tracker: Option<&HaTracker>) -> String {
    match tracker {
        None => "Disabled (distributor.ha_tracker.enable_ha_tracker)".to_owned(),
        Some(tracker) if tracker.is_ready() => {
            format!("Running ({} clusters)", tracker.cluster_count())
        }
        Some(_) => "Starting (reading the store)".to_owned(),
    }
}

fn gossip_state(gossip: &Inspector) -> String {
    match gossip.waiting_for() {
        None => format!("Running (at {})", gossip.address()),
        Some(waiting) => format!("Starting ({})", visible(&waiting)),
    }
}

fn multi_state(multi: &MultiStore<ReplicaDesc>) -> String {
    let status = multi.status();
    let mirroring = if status.mirror_enabled {
        "mirrored to"
    } else {
        "not mirrored to"
    };
    format!(
        "Running ({}, {mirroring} {})",
        status.primary, status.secondary
    )
}
