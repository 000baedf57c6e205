//! `/debug/pprof`: CPU and heap profiles in the format of pprof, at the paths where Go's programs serve
//! them. Off unless `server.profiling_enabled` is set.

mod answer;
mod cpu;
mod format;
mod heap;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use distributor_config::ServerConfig;
use tokio_util::sync::CancellationToken;

use crate::program::HeapProfiler;
use heap::Heap;

const CPU: &str = "/debug/pprof/profile";
const HEAP: &str = "/debug/pprof/heap";

/// Begins to sample allocations, if profiles are on.
pub(crate) fn begin(server: &ServerConfig, heap: Option<&Arc<dyn HeapProfiler>>) {
    let Some(heap) = heap.filter(|_| server.profiling_enabled) else {
        return;
    };
    match heap.begin() {
        Ok(()) => tracing::info!("sampling allocations for heap profiles"),
        Err(problem) => tracing::warn!(problem, "there will be no heap profiles"),
    }
}

/// The routes, if profiles are on. `shutdown` ends profiles that are being made.
pub(crate) fn router(
    server: &ServerConfig,
    heap: Option<Arc<dyn HeapProfiler>>,
    shutdown: CancellationToken,
) -> Router {
    if !server.profiling_enabled {
        return Router::new();
    }
    Router::new()
        .route(CPU, get(cpu::profile).with_state(shutdown))
        .route(HEAP, get(heap::profile).with_state(Heap::new(heap)))
}
