//! Participants over a store in memory, in paused time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use kv_core::conformance::polled;
use kv_core::faults::{Faults, FaultyStore};
use kv_core::{CasUpdate, InMemoryStore, Store};
use kv_election::{ElectionError, Lease, Participant, Term, Timing};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const TIMEOUT: Duration = Duration::from_secs(15);
const MARGIN: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(600);

type Shared = Arc<dyn Store<Lease>>;

fn memory() -> Shared {
    Arc::new(InMemoryStore::default())
}

fn participant(store: &Shared, name: &str) -> Participant {
    Participant::new(Arc::clone(store), "job", name, Timing::default()).unwrap()
}

/// Works until it is dropped, and says with which token; also a check that `run` can be spawned.
fn start(store: &Shared, name: &str, says: &mpsc::UnboundedSender<u64>) -> JoinHandle<()> {
    let (participant, says) = (participant(store, name), says.clone());
    tokio::spawn(async move {
        let work = async |term: Term| {
            says.send(term.token()).unwrap();
            pending::<()>().await;
        };
        participant.run(work).await.unwrap();
    })
}

#[tokio::test(start_paused = true)]
async fn of_two_one_works_and_the_other_follows_after_the_timeout() {
    let store = memory();
    let (says, mut said) = mpsc::unbounded_channel();
    let first = start(&store, "a", &says);
    assert_eq!(said.recv().await, Some(1));
    let _second = start(&store, "b", &says);
    assert!(timeout(LONG, said.recv()).await.is_err(), "a goes on");

    first.abort();
    let began = Instant::now();
    assert_eq!(said.recv().await, Some(2));
    let took = began.elapsed();
    // The last renewal was at most one renewal ago.
    assert!(
        took <= TIMEOUT && took >= TIMEOUT - Duration::from_secs(4),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_term_that_was_released_is_followed_at_once_and_tokens_grow() {
    let store = memory();
    let (says, mut said) = mpsc::unbounded_channel();
    for expected in 1..=3 {
        let token = participant(&store, "a")
            .run(async |term| term.token())
            .await;
        assert_eq!(token.unwrap(), expected);
    }
    let began = Instant::now();
    let _next = start(&store, "b", &says);
    assert_eq!(said.recv().await, Some(4));
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn while_the_store_fails_the_work_ends_before_another_can_be_elected() {
    let inner = memory();
    let faults = Arc::<Faults>::default();
    let flaky: Shared = Arc::new(FaultyStore::new(Arc::clone(&inner), Arc::clone(&faults)));
    let (says, mut said) = mpsc::unbounded_channel();
    let ended = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let work = {
        let (ended, says) = (Arc::clone(&ended), says.clone());
        move |term: Term| {
            let (ended, says) = (Arc::clone(&ended), says.clone());
            async move {
                says.send(term.token()).unwrap();
                let _guard = scopeguard(move || {
                    ended.store(began.elapsed().as_millis() as u64, Ordering::Relaxed);
                });
                pending::<()>().await;
            }
        }
    };
    let a = participant(&flaky, "a");
    let _a = tokio::spawn(async move { a.run(work).await });
    assert_eq!(said.recv().await, Some(1));
    let _b = start(&inner, "b", &says);
    sleep(Duration::from_secs(60)).await;
    // The last renewal that works.
    faults.fail(true);
    let failing = began.elapsed();
    assert_eq!(said.recv().await, Some(2));
    let elected = began.elapsed();
    let ended = Duration::from_millis(ended.load(Ordering::Relaxed));
    assert!(
        ended > failing && ended + MARGIN <= elected,
        "{failing:?} {ended:?} {elected:?}"
    );

    // It takes part again when the store is back, and does not disturb.
    faults.fail(false);
    assert!(timeout(LONG, said.recv()).await.is_err(), "b goes on");
}

/// Runs a function when it is dropped.
fn scopeguard(call: impl FnMut()) -> impl Drop {
    struct Guard<F: FnMut()>(F);
    impl<F: FnMut()> Drop for Guard<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    Guard(call)
}

#[tokio::test(start_paused = true)]
async fn a_frozen_participant_does_not_work_when_it_is_thawed() {
    let store = memory();
    let polls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&polls);
    let a = participant(&store, "a");
    // Polled by hand, so that it can be frozen: nothing polls it while time passes.
    let mut run = Box::pin(a.run(move |_| {
        let counted = Arc::clone(&counted);
        std::future::poll_fn(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Poll::<()>::Pending
        })
    }));
    let mut context = Context::from_waker(Waker::noop());
    while polls.load(Ordering::Relaxed) == 0 {
        assert!(run.as_mut().poll(&mut context).is_pending());
        tokio::task::yield_now().await;
    }
    let (says, mut said) = mpsc::unbounded_channel();
    let _b = start(&store, "b", &says);
    assert_eq!(said.recv().await, Some(2), "a is frozen");
    let before = polls.load(Ordering::Relaxed);
    for _ in 0..100 {
        assert!(run.as_mut().poll(&mut context).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(polls.load(Ordering::Relaxed), before);
}

/// Whatever it was doing when it was dropped, another one is elected within the timeout, with a
/// larger token than any before, and nothing of it goes on.
#[tokio::test(start_paused = true)]
async fn a_participant_can_be_dropped_at_each_await() {
    let store = memory();
    let faults = Arc::<Faults>::default();
    let slow: Shared = Arc::new(FaultyStore::new(Arc::clone(&store), Arc::clone(&faults)));
    faults.delay(Duration::from_millis(10));
    let working = Arc::new(AtomicU32::new(0));
    let (mut newest, mut polls) = (0, 0);
    loop {
        let timing = Timing::default().and_settle(Duration::from_millis(100));
        let dropped = Participant::new(Arc::clone(&slow), "job", "dropped", timing).unwrap();
        let work = async |_| {
            working.fetch_add(1, Ordering::Relaxed);
            let _guard = scopeguard(|| {
                working.fetch_sub(1, Ordering::Relaxed);
            });
            // Long enough to be renewed.
            sleep(Duration::from_secs(7)).await;
        };
        let completed = polled(dropped.run(work), polls).await;
        assert_eq!(working.load(Ordering::Relaxed), 0, "after {polls} polls");
        let began = Instant::now();
        let next = participant(&store, "next");
        let token = next.run(async |term| term.token()).await.unwrap();
        assert!(token > newest, "{token} after {newest}");
        newest = token;
        assert!(began.elapsed() <= TIMEOUT + Duration::from_secs(1));
        if completed.is_some() {
            break;
        }
        polls += 1;
        assert!(polls < 1000, "it does not complete");
    }
    // Election, settling, work, two renewals and the release, with a slow store.
    assert!(polls > 10, "{polls}");
    let tasks = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    assert_eq!(tasks, 0);
}

/// Waits for the end of a task that may have been aborted; passes a panic on.
async fn ended(task: Option<JoinHandle<()>>) {
    let Some(task) = task else {
        return;
    };
    if let Err(error) = task.await
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

/// What all copies share: how many work now, and the newest token.
#[derive(Clone, Default)]
struct Floor {
    at_work: Arc<AtomicU32>,
    newest: Arc<AtomicU64>,
}

impl Floor {
    async fn work(self, term: Term, lasts: Duration) {
        assert_eq!(
            self.at_work.fetch_add(1, Ordering::Relaxed),
            0,
            "two at work"
        );
        let at_work = Arc::clone(&self.at_work);
        let _guard = scopeguard(move || {
            at_work.fetch_sub(1, Ordering::Relaxed);
        });
        let before = self.newest.fetch_max(term.token(), Ordering::Relaxed);
        assert!(term.token() > before, "{} after {before}", term.token());
        sleep(lasts).await;
        assert!(!term.is_over());
    }
}

/// Five copies, some of which are killed, over a store that is slow, fails and hangs: never two at
/// work at a time, and tokens only grow.
#[tokio::test(start_paused = true)]
async fn never_two_at_work() {
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let (inner, floor) = (memory(), Floor::default());
        let mut copies: Vec<_> = (0..5)
            .map(|_| {
                let faults = Arc::<Faults>::default();
                let store: Shared =
                    Arc::new(FaultyStore::new(Arc::clone(&inner), Arc::clone(&faults)));
                (store, faults, None::<JoinHandle<()>>)
            })
            .collect();
        for _ in 0..300 {
            let (store, faults, running) = &mut copies[random.random_range(0..5)];
            match random.random_range(0..8) {
                0 => faults.fail(true),
                1 | 2 => faults.fail(false),
                3 => faults.hang(true),
                4 => faults.hang(false),
                5 => faults.delay(Duration::from_millis(random.random_range(0..700))),
                6 => {
                    if let Some(task) = running {
                        task.abort();
                    }
                    ended(running.take()).await;
                }
                _ if running.as_ref().is_none_or(JoinHandle::is_finished) => {
                    ended(running.take()).await;
                    let (copy, floor) = (participant(store, "copy"), floor.clone());
                    let lasts = Duration::from_secs(random.random_range(0..200));
                    let work = move |term| floor.clone().work(term, lasts);
                    *running = Some(tokio::spawn(async move { copy.run(work).await.unwrap() }));
                }
                _ => {}
            }
            sleep(Duration::from_millis(random.random_range(0..4_000))).await;
        }
        for (_, _, running) in copies {
            if let Some(task) = &running {
                task.abort();
            }
            ended(running).await;
        }
        let elections = floor.newest.load(Ordering::Relaxed);
        assert!(elections > 5, "seed {seed}: {elections}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_term_says_how_long_it_lasts_and_when_it_is_over() {
    let store = memory();
    let a = participant(&store, "a");
    let ended = a.run(async |term| {
        sleep(Duration::from_secs(100)).await;
        let remaining = term.remaining();
        assert!(remaining > Duration::from_secs(10), "{remaining:?}");
        // Another one takes it by force.
        let mut force = |current: Option<&Lease>| {
            let token = current.map_or(0, |lease| lease.token) + 1;
            CasUpdate::Put(Lease {
                holder: "operator".to_owned(),
                token,
                renewals: 0,
                released: false,
            })
        };
        if term.token() == 1 {
            store.cas("job", &mut force).await.unwrap();
            term.over().await;
            panic!("it is dropped first");
        }
        term.token()
    });
    assert_eq!(ended.await.unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_work_is_an_error() {
    let timing = Timing::with_timeout(Duration::ZERO);
    let refused = Participant::new(memory(), "job", "a", timing)
        .err()
        .unwrap();
    assert!(matches!(refused, ElectionError::Timing { .. }), "{refused}");
}
