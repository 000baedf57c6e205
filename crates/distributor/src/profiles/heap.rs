//! `GET /debug/pprof/heap`: what is allocated now, by the functions that allocated it. The allocator
//! belongs to the program, which brings its profiler.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use tokio::sync::Semaphore;

use super::answer::{Refused, answer};
use crate::program::HeapProfiler;

/// What the handler needs.
#[derive(Clone)]
pub(super) struct Heap {
    profiler: Option<Arc<dyn HeapProfiler>>,
    /// One at a time: each takes memory and CPU time of its own.
    turn: Arc<Semaphore>,
}

impl Heap {
    pub(super) fn new(profiler: Option<Arc<dyn HeapProfiler>>) -> Self {
        Self {
            profiler,
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

/// The handler.
pub(super) async fn profile(State(heap): State<Heap>, RawQuery(query): RawQuery) -> Response {
    let made = make(heap, query.as_deref().unwrap_or_default()).await;
    answer("heap", made)
}

async fn make(heap: Heap, query: &str) -> Result<Vec<u8>, Refused> {
    check(query)?;
    let Some(profiler) = heap.profiler else {
        let problem = "the allocator of this program cannot be profiled";
        return Err(Refused::Never(problem.to_owned()));
    };
    let turn = heap
        .turn
        .try_acquire_owned()
        .map_err(|_| Refused::Busy("another heap profile is being made; retry later".to_owned()))?;
    // Files are written and read, and symbols looked up. The turn ends with it, not with the request.
    let dump = move || {
        let _turn = turn;
        profiler.profile()
    };
    match tokio::task::spawn_blocking(dump).await {
        Ok(made) => made.map_err(Refused::Never),
        Err(ended) => Err(Refused::Busy(ended.to_string())),
    }
}

/// `gc=1`, which scrapers send, has nothing to do here: nothing is collected.
fn check(query: &str) -> Result<(), Refused> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        if !matches!(pair, "gc=0" | "gc=1" | "debug=0") {
            return Err(Refused::BadQuery(format!(
                "unknown parameter {pair:?}: a heap profile is that of now, in the format of pprof"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl HeapProfiler for Fixed {
        fn begin(&self) -> Result<(), String> {
            Ok(())
        }

        fn profile(&self) -> Result<Vec<u8>, String> {
            Ok(vec![7])
        }
    }

    #[tokio::test]
    async fn one_is_made_at_a_time_and_of_now() {
        let heap = Heap::new(Some(Arc::new(Fixed)));
        assert_eq!(make(heap.clone(), "gc=1").await, Ok(vec![7]));
        assert!(matches!(
            make(heap.clone(), "seconds=3").await,
            Err(Refused::BadQuery(_))
        ));
        let _other = heap.turn.clone().try_acquire_owned().unwrap();
        assert!(matches!(make(heap, "").await, Err(Refused::Busy(_))));
        let none = make(Heap::new(None), "").await;
        assert!(matches!(none, Err(Refused::Never(_))), "{none:?}");
    }
}
