//! The driver: the states of all clusters of one distributor, and the store under them.
//!
//! [`Failovers`] is what the push path asks. Tasks carry out the effects, follow the records of other
//! distributors, and write this one's heartbeat; [`FailoverHandle`] owns them.

mod call;
mod metrics;
mod records;
mod tasks;

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use ahash::RandomState;
use async_trait::async_trait;
use ha_tracker::{Clock, ReplicaDesc};
use kv_core::lock;
use papaya::Equivalent;
use smol_str::SmolStr;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::{
    Budget, ClusterState, Context, Effect, Fate, Fleet, Lane, NEVER_MS, Outcome, Output, Reason,
    Request, Settings, Slice, Snapshot, Term, Ticket, Wait,
};

pub use call::{FailoverHandle, Parts, start};
use metrics::FailoverMetrics;
pub use metrics::register_metrics;

/// The tracker's elections, as far as the driver needs them.
#[async_trait]
pub trait Elections: Send + Sync + 'static {
    /// The entry of a cluster as this distributor knows it. Called for each request of a standby: no
    /// I/O.
    fn entry(&self, tenant: &str, cluster: &str) -> Option<ReplicaDesc>;

    /// Elects `successor` by compare-and-swap, if the stored election still is of the term that
    /// `ends`, however young it is. What comes of it shows in [`Elections::entry`].
    async fn elect(&self, tenant: &str, cluster: &str, successor: &str, ends: &ReplicaDesc);
}

/// Which tenants fail over without loss, and by which rules. May change from call to call.
pub trait Rules: Send + Sync + 'static {
    /// The rules of a cluster; `None` in classic mode.
    fn settings(&self, tenant: &str, cluster: &str) -> Option<Settings>;
}

/// Forwards what was held.
#[async_trait]
pub trait Replayer<B>: Send + Sync + 'static {
    /// Forwards the parts of a slice to the downstream, one after another, each until it is stored or
    /// refused for good; none after [`Slice::until_ms`]. Returns how many, from the first on, are
    /// done. All but that many come again, in another slice.
    async fn replay(&self, tenant: &str, cluster: &str, slice: Slice<B>) -> usize;
}

/// What is asked for each request of a tenant in lossless mode.
pub struct Failovers<B> {
    me: SmolStr,
    clusters: papaya::HashMap<Name, Arc<Cluster<B>>, RandomState>,
    /// The tenants' budgets, all below that of the process.
    budgets: papaya::HashMap<SmolStr, Arc<Budget>, RandomState>,
    process: Arc<Budget>,
    /// Lock order: a cluster's state, then this.
    fleet: RwLock<Fleet>,
    rules: Arc<dyn Rules>,
    elections: Arc<dyn Elections>,
    effects: mpsc::UnboundedSender<Work<B>>,
    metrics: FailoverMetrics,
    clock: Clock,
}

/// An effect, and whose.
type Work<B> = (Arc<Cluster<B>>, Effect<B>);

/// One cluster.
struct Cluster<B> {
    name: Name,
    state: Mutex<ClusterState<B>>,
    lane: Arc<Lane>,
    /// Whether the state needs ticks soon.
    busy: AtomicBool,
    /// [`ClusterState::after_ms`], for scans.
    after_ms: AtomicI64,
    /// Counts wakes, for requests that wait.
    wakes: watch::Sender<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    tenant: SmolStr,
    cluster: SmolStr,
}

struct Borrowed<'a>(&'a str, &'a str);

impl Hash for Borrowed<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
        self.1.hash(state);
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Borrowed(&self.tenant, &self.cluster).hash(state);
    }
}

impl Equivalent<Name> for Borrowed<'_> {
    fn equivalent(&self, name: &Name) -> bool {
        self.1 == name.cluster && self.0 == name.tenant
    }
}

/// What becomes of a request.
pub enum Decision<B: Clone + Send + Sync + 'static> {
    /// Forward it, without its samples up to `after_ms`; then [`Accepted::finish`].
    Accept {
        /// Samples up to this time are dropped as deduplicated.
        after_ms: Option<i64>,
        /// To be finished.
        accepted: Accepted<B>,
    },
    /// Answer as for a deduplicated request; nothing is kept.
    Deduplicate,
    /// Answer as for a deduplicated request; its body is kept.
    Held,
    /// Answer 503.
    RetryLater {
        /// For Retry-After.
        after: Duration,
        /// Why.
        why: Wait,
    },
}

/// An accepted request. Dropped without [`Accepted::finish`], its sender has gone away.
pub struct Accepted<B: Clone + Send + Sync + 'static> {
    failovers: Arc<Failovers<B>>,
    cluster: Arc<Cluster<B>>,
    ticket: Option<Ticket>,
}

impl<B: Clone + Send + Sync + 'static> Accepted<B> {
    /// The downstream has answered.
    pub fn finish(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(ticket) = self.ticket.take()
            && ticket.end(outcome, self.failovers.clock.now_ms())
        {
            self.failovers.call(&self.cluster, |state, cx, out| {
                state.ended(&ticket, cx, out);
            });
        }
    }
}

impl<B: Clone + Send + Sync + 'static> Drop for Accepted<B> {
    fn drop(&mut self) {
        self.end(Outcome::Abandoned);
    }
}

impl<B: Clone + Send + Sync + 'static> Failovers<B> {
    /// Decides about a request of one replica of a cluster that has an election. Waits until
    /// `deadline` for a claim that is being opened, and for the end of a term if the replica is the
    /// elected one: the term may continue, and a sender that is refused may wait for a minute. `body`
    /// is called if the request is held.
    ///
    /// In classic mode, or after a switch to it, the answer is `None`.
    ///
    /// [`Send`] if `body` is. If it is cancelled while it waits, the request is not held.
    pub async fn judge(
        self: &Arc<Self>,
        tenant: &str,
        cluster: &str,
        request: &Request<'_>,
        body: impl Fn() -> B,
        deadline: Instant,
    ) -> Option<Decision<B>> {
        let cluster = self.cluster(tenant, cluster)?;
        // The usual case.
        if let Some(fate) = cluster.lane.judge(request, self.clock.now_ms()) {
            return Some(self.decided(cluster, fate));
        }
        let mut wakes = cluster.wakes.subscribe();
        loop {
            wakes.mark_unchanged();
            let (fate, is_elected) = self.request(&cluster, request, &body);
            let Fate::RetryLater { after, why } = fate else {
                return Some(self.decided(cluster, fate));
            };
            let is_short = match why {
                Wait::Opening | Wait::NoElection => true,
                Wait::Election => is_elected,
                _ => false,
            };
            if !is_short {
                return Some(Decision::RetryLater { after, why });
            }
            let woken = tokio::time::timeout_at(deadline, wakes.changed()).await;
            if !matches!(woken, Ok(Ok(()))) {
                return Some(Decision::RetryLater { after, why });
            }
        }
    }

    fn request(
        self: &Arc<Self>,
        cluster: &Arc<Cluster<B>>,
        request: &Request<'_>,
        body: &impl Fn() -> B,
    ) -> (Fate, bool) {
        self.call(cluster, |state, cx, out| {
            // The tracker's cache may know more than the last tick did.
            if !state.has_term_of(request.replica) {
                self.tell_election(&cluster.name, state, cx, out);
            }
            let fate = state.request(request, body, cx, out);
            (fate, state.has_term_of(request.replica))
        })
    }

    fn decided(self: &Arc<Self>, cluster: Arc<Cluster<B>>, fate: Fate) -> Decision<B> {
        match fate {
            Fate::Accept { ticket, after_ms } => Decision::Accept {
                after_ms,
                accepted: Accepted {
                    failovers: Arc::clone(self),
                    cluster,
                    ticket: Some(ticket),
                },
            },
            Fate::Deduplicate => Decision::Deduplicate,
            Fate::Held => Decision::Held,
            Fate::RetryLater { after, why } => Decision::RetryLater { after, why },
        }
    }

    /// Samples of the elected replica up to this time, ms, are dropped by [`Decision::Accept`]; `None`
    /// if there are none. For the scan of a request, before it is judged: no lock.
    pub fn after_ms(&self, tenant: &str, cluster: &str) -> Option<i64> {
        let clusters = self.clusters.pin();
        let cluster = clusters.get(&Borrowed(tenant, cluster))?;
        let after_ms = cluster.after_ms.load(Ordering::Relaxed);
        (after_ms != NEVER_MS).then_some(after_ms)
    }

    /// Ends the term of the elected replica, if the tenant is in lossless mode; false if not, and
    /// the election may take place at once. What comes of it shows in the elections.
    pub fn begin(
        self: &Arc<Self>,
        tenant: &str,
        cluster: &str,
        successor: &str,
        reason: Reason,
    ) -> bool {
        let Some(cluster) = self.cluster(tenant, cluster) else {
            return false;
        };
        self.call(&cluster, |state, cx, out| {
            self.tell_election(&cluster.name, state, cx, out);
            state.begin(successor, reason, cx, out);
        });
        true
    }

    /// The state of a cluster, for pages; `None` in classic mode and for one without requests.
    pub fn snapshot(&self, tenant: &str, cluster: &str) -> Option<Snapshot> {
        let clusters = self.clusters.pin();
        let cluster = clusters.get(&Borrowed(tenant, cluster))?;
        Some(lock(&cluster.state).snapshot())
    }

    /// Bytes held of all clusters.
    pub fn held_bytes(&self) -> u64 {
        self.process.used()
    }

    /// The state of a cluster of a tenant in lossless mode.
    fn cluster(&self, tenant: &str, cluster: &str) -> Option<Arc<Cluster<B>>> {
        let clusters = self.clusters.pin();
        if let Some(known) = clusters.get(&Borrowed(tenant, cluster)) {
            return Some(Arc::clone(known));
        }
        let settings = self.rules.settings(tenant, cluster)?;
        let name = Name {
            tenant: tenant.into(),
            cluster: cluster.into(),
        };
        let budget = self.budget(&name.tenant, settings.hold_bytes);
        let state = ClusterState::new(self.me.clone(), settings, budget);
        let new = Arc::new(Cluster {
            name: name.clone(),
            lane: state.lane(),
            state: Mutex::new(state),
            busy: AtomicBool::new(false),
            after_ms: AtomicI64::new(NEVER_MS),
            wakes: watch::Sender::new(0),
        });
        Some(Arc::clone(clusters.get_or_insert(name, new)))
    }

    fn budget(&self, tenant: &SmolStr, limit: u64) -> Arc<Budget> {
        let budgets = self.budgets.pin();
        let new = || Arc::new(Budget::new(limit, Some(Arc::clone(&self.process))));
        let budget = budgets.get_or_insert_with(tenant.clone(), new);
        budget.set_limit(limit);
        Arc::clone(budget)
    }

    /// Calls a state, and hands its effects on.
    fn call<R>(
        &self,
        cluster: &Arc<Cluster<B>>,
        call: impl FnOnce(&mut ClusterState<B>, Context<'_>, &mut Output<B>) -> R,
    ) -> R {
        let mut out = Output::default();
        let mut state = lock(&cluster.state);
        let result = {
            let fleet = read(&self.fleet);
            let cx = Context {
                now_ms: self.clock.now_ms(),
                fleet: &fleet,
            };
            call(&mut state, cx, &mut out)
        };
        cluster.busy.store(state.is_busy(), Ordering::Relaxed);
        cluster.after_ms.store(state.after_ms(), Ordering::Relaxed);
        self.metrics.add(&out.counts);
        // Still under the lock: effects are carried out in the order of the calls.
        for effect in out.effects.drain(..) {
            if matches!(effect, Effect::Wake) {
                cluster.wakes.send_modify(|count| *count += 1);
                continue;
            }
            // It fails only after the shutdown.
            let _ = self.effects.send((Arc::clone(cluster), effect));
        }
        result
    }

    fn tell_election(
        &self,
        name: &Name,
        state: &mut ClusterState<B>,
        cx: Context<'_>,
        out: &mut Output<B>,
    ) {
        let entry = self.elections.entry(&name.tenant, &name.cluster);
        let entry = entry.filter(|entry| !entry.is_deleted());
        let known = entry
            .as_ref()
            .map(|entry| (term_of(entry), entry.received_at));
        let known = known.as_ref().map(|(term, at)| (term, *at));
        state.elected(known, cx, out);
    }
}

/// The term of an election.
fn term_of(entry: &ReplicaDesc) -> Term {
    Term {
        replica: entry.replica.as_str().into(),
        elected_at: entry.elected_at,
        changes: entry.elected_changes,
    }
}

/// The election of a term.
fn entry_of(term: &Term) -> ReplicaDesc {
    ReplicaDesc {
        replica: term.replica.to_string(),
        elected_at: term.elected_at,
        elected_changes: term.changes,
        ..ReplicaDesc::default()
    }
}

fn read(fleet: &RwLock<Fleet>) -> RwLockReadGuard<'_, Fleet> {
    fleet.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(fleet: &RwLock<Fleet>) -> RwLockWriteGuard<'_, Fleet> {
    fleet.write().unwrap_or_else(PoisonError::into_inner)
}
