//! Builds a router from the table of routes: each page gets the components that it shows.

use std::sync::Arc;

use axum::Router;
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{MethodRouter, get};

use crate::pages::{
    PageRenderer, Security, config, ha_tracker, index, memberlist, multi_kv, not_found,
    runtime_config, services, status,
};
use crate::routes::{Page, ROUTES};
use crate::view::Admin;

/// Serves all pages, and `push` at the paths of remote write.
pub fn router(admin: &Admin, push: &MethodRouter) -> Router {
    let renderer = Arc::new(PageRenderer::default());
    let (mut pages, mut pushes) = (Router::new(), Router::new());
    for route in &ROUTES {
        let handler = handler(route.page, admin, &renderer, push);
        // The answers to pushes are not pages, and cost as little as possible.
        let router = match route.page {
            Page::Push | Page::Write => &mut pushes,
            _ => &mut pages,
        };
        *router = std::mem::take(router).route(route.path, handler);
    }
    let security = Security::new();
    let secured = map_response(move |response: Response| {
        let security = security.clone();
        async move { security.add(response) }
    });
    pages.fallback(not_found::page).layer(secured).merge(pushes)
}

fn handler(
    page: Page,
    admin: &Admin,
    renderer: &Arc<PageRenderer>,
    push: &MethodRouter,
) -> MethodRouter {
    let renderer = Arc::clone(renderer);
    match page {
        Page::Push | Page::Write => push.clone(),
        Page::Index => get(index::page).with_state(index::Parts {
            health: Arc::clone(&admin.health),
            build: admin.build,
        }),
        Page::HaTracker => get(ha_tracker::page).with_state(ha_tracker::Parts {
            tracker: admin.tracker.clone(),
            renderer,
            can_hand_over: admin.config.distributor.ha_tracker.tracker.handover,
        }),
        Page::Cluster => get(ha_tracker::cluster::page).with_state(ha_tracker::cluster::Parts {
            tracker: admin.tracker.clone(),
            can_hand_over: admin.config.distributor.ha_tracker.tracker.handover,
        }),
        Page::Elections => {
            get(ha_tracker::elections::page).with_state(ha_tracker::elections::Parts {
                tracker: admin.tracker.clone(),
                renderer,
            })
        }
        Page::Why => get(ha_tracker::why::page).with_state(ha_tracker::why::Parts {
            tracker: admin.tracker.clone(),
            limits: admin.limits.clone(),
            health: Arc::clone(&admin.health),
            renderer,
        }),
        Page::HandOver => get(ha_tracker::handover::page)
            .post(ha_tracker::handover::post)
            .with_state(ha_tracker::handover::HandOver {
                tracker: admin.tracker.clone(),
                is_enabled: admin.config.distributor.ha_tracker.tracker.handover,
            }),
        Page::Memberlist => get(memberlist::page).with_state(memberlist::Parts {
            gossip: admin.gossip.clone(),
            renderer,
        }),
        Page::MultiKv => {
            let tracker = &admin.config.distributor.ha_tracker;
            let parts = multi_kv::Parts {
                store: tracker.enable_ha_tracker.then_some(tracker.kvstore.store),
                configured: tracker.kvstore.multi.clone(),
                limits: admin.limits.clone(),
                multi: admin.multi.clone(),
            };
            get(multi_kv::page).with_state(Arc::new(parts))
        }
        Page::Ready => get(status::ready).with_state(Arc::clone(&admin.readiness)),
        Page::Healthz => get(status::healthz),
        Page::Services => {
            let parts = services::Parts::new(admin);
            get(services::page).with_state(Arc::new(parts))
        }
        Page::Metrics => get(status::metrics).with_state(admin.exposition.clone()),
        Page::Config => get(config::page).with_state(Arc::clone(&admin.config)),
        Page::RuntimeConfig => get(runtime_config::page).with_state(runtime_config::Parts {
            limits: admin.limits.clone(),
            renderer,
        }),
        Page::BuildInfo => get(status::buildinfo).with_state(admin.build),
        Page::Favicon => get(index::favicon),
    }
}
