//! The push path: bytes in, one scan, the tracker's answers, bytes out to the downstream.
//!
//! It knows no protocol: HTTP handlers (and others) turn what they receive into a [`PushRequest`]
//! and a [`PushAnswer`] into what they send. The answer comes after the downstream's: nothing that
//! was acknowledged is only in our memory.

mod answer;
mod arrivals;
mod body;
mod budget;
mod buffers;
#[cfg(test)]
mod hang_ups;
mod instance;
mod judge;
mod long_work;
mod rate;
mod refusals;
mod request;
mod sender;
mod tenants;
mod unlabelled;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ha_tracker::HaTracker;
use http::StatusCode;
use kv_core::LogThrottle;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use remote_write::{HaLabelNames, Scan, Version};
use tokio::time::Instant;

use crate::config::{Config, Limits, TenantLimits};
use crate::downstream::{DownstreamTrouble, Downstreams, Forward};
use crate::memory;

pub use ha_tracker::validate_tenant;

pub use answer::{PushAnswer, Written};
pub(crate) use answer::{RETRY_AFTER, retry_after_seconds};
pub(crate) use arrivals::Arrival;
use arrivals::Arrivals;
use body::noted_bytes;
pub(crate) use budget::Budget;
pub use budget::Held;
pub(crate) use buffers::BufferPool;
pub use buffers::Message;
use long_work::LongWork;
pub(crate) use long_work::Turn;
use rate::{Charge, InFlight, InFlightGuard, TokenBucket};
use refusals::Refusals;
pub use refusals::{Cause, Refusal};
pub use request::{PushBody, PushRequest};
pub(crate) use sender::Sender;
use tenants::{Discarded, Tenant, TenantCollector, Tenants, add};
use unlabelled::Source;

/// Everything a push needs, shared by all requests.
pub struct Pusher {
    tracker: Option<Arc<HaTracker>>,
    limits: TenantLimits,
    downstreams: Downstreams,
    tenants: Arc<Tenants>,
    buffers: BufferPool,
    arrivals: Arrivals,
    requests: InFlight,
    memory: Arc<Budget>,
    long_work: LongWork,
    instance_rate: TokenBucket,
    max_ingestion_rate: f64,
    max_recv_msg_size: u64,
    remote_timeout: Duration,
    inflight: Gauge,
    complaints: LogThrottle,
    refusals: Refusals,
}

/// A request after the scan.
struct Scanned {
    scan: Scan,
    message: Message,
    /// What was decoded, which is what goes on if nothing of it changes.
    block: Option<Bytes>,
}

impl Pusher {
    /// Builds the push path. Without a tracker every sample passes with its labels untouched.
    pub fn new(
        config: &Config,
        limits: TenantLimits,
        tracker: Option<Arc<HaTracker>>,
        downstreams: Downstreams,
        registry: &mut Registry,
    ) -> Self {
        let tenants = Arc::new(Tenants::new());
        registry.register_collector(Box::new(TenantCollector(Arc::clone(&tenants))));
        let inflight = Gauge::default();
        registry.register(
            "cortex_distributor_inflight_push_requests",
            "Current number of inflight push requests in distributor",
            inflight.clone(),
        );
        let instance = &config.distributor.instance_limits;
        let most_bytes = memory::push_limit(instance.max_inflight_push_requests_bytes);
        let memory = Arc::new(Budget::new(most_bytes));
        registry.register_collector(Box::new(instance::InstanceCollector {
            memory: Arc::clone(&memory),
            limits: [
                (
                    "max_inflight_push_requests",
                    instance.max_inflight_push_requests as f64,
                ),
                ("max_inflight_push_requests_bytes", most_bytes as f64),
                ("max_ingestion_rate", instance.max_ingestion_rate),
            ],
        }));
        Self {
            tracker,
            limits,
            downstreams,
            tenants,
            buffers: BufferPool::default(),
            arrivals: Arrivals::register(registry),
            requests: InFlight::new(instance.max_inflight_push_requests),
            memory,
            long_work: LongWork::new(),
            instance_rate: TokenBucket::default(),
            max_ingestion_rate: instance.max_ingestion_rate,
            max_recv_msg_size: config.distributor.max_recv_msg_size,
            remote_timeout: config.distributor.remote_timeout,
            inflight,
            complaints: LogThrottle::default(),
            refusals: Refusals::default(),
        }
    }

    /// To be called before a request's body is read. Where requests are refused for their number,
    /// its body need not come.
    pub(crate) fn arrive(&self, sender: &Sender) -> Result<Arrival<'_>, PushAnswer> {
        match self.requests.is_full() {
            true => Err(self.too_many_requests()),
            false => Ok(self.arrivals.begin(sender.address)),
        }
    }

    /// To be called when a request's body is there, and held until it is answered.
    pub(crate) fn enter(&self) -> Result<InFlightRequest<'_>, PushAnswer> {
        let Some(guard) = self.requests.enter(1) else {
            return Err(self.too_many_requests());
        };
        self.inflight.inc();
        Ok(InFlightRequest {
            _guard: guard,
            pusher: self,
        })
    }

    fn too_many_requests(&self) -> PushAnswer {
        PushAnswer::unavailable(format!(
            "this instance has {} push requests in flight, its limit \
             (distributor.instance_limits.max_inflight_push_requests); retry later",
            self.requests.limit(),
        ))
    }

    /// Whether push requests are in flight, or on their way.
    pub(crate) fn is_busy(&self) -> bool {
        self.requests.current() > 0 || self.arrivals.count() > 0
    }

    /// An empty one, for a body that arrives in parts.
    pub(crate) fn message(&self) -> Message {
        self.buffers.message()
    }

    /// What one request holds, from its first byte to its answer: nothing yet.
    pub fn hold(&self) -> Held<'_> {
        self.memory.hold()
    }

    /// Waits for a turn to work on so many bytes of a body that has arrived.
    pub(crate) async fn turn(&self, bytes: usize) -> Result<Turn<'_>, PushAnswer> {
        let deadline = Instant::now() + self.remote_timeout;
        self.long_work.turn(bytes, deadline).await
    }

    /// Gives back the memory that requests have not needed lately; to be called every few seconds.
    pub(crate) fn give_back_memory(&self) {
        self.buffers.give_back_unneeded();
    }

    /// Forgets what is known of tenants that have been idle; to be called now and then.
    pub(crate) fn forget_idle_tenants(&self) {
        self.tenants.forget_idle();
    }

    /// What tenants were refused lately, and what is suspicious about their samples. Bounded: 500
    /// tenants that have sent something valid, and as many others.
    pub fn refusals(&self) -> Vec<Refusal> {
        self.refusals.list()
    }

    /// The downstreams that fail.
    pub(crate) fn downstream_troubles(&self) -> Vec<DownstreamTrouble> {
        self.downstreams.troubles()
    }

    /// Writes lines about refusals that are due; to be called every few seconds.
    pub(crate) fn tell_refusals(&self) {
        self.refusals.tick();
    }

    /// Deduplicates and forwards one request.
    pub async fn push(&self, mut request: PushRequest<'_>) -> PushAnswer {
        let answer = self.push_or_refuse(&mut request).await;
        let mut answer = answer.unwrap_or_else(|refused| refused);
        match request.version {
            Version::V1 => answer.written = None,
            Version::V2 if answer.status.is_success() => {}
            // A failure has counts as well.
            Version::V2 => {
                answer.written.get_or_insert_default();
            }
        }
        answer
    }

    async fn push_or_refuse(
        &self,
        request: &mut PushRequest<'_>,
    ) -> Result<PushAnswer, PushAnswer> {
        let deadline = Instant::now() + self.remote_timeout;
        let known = self.tenants.known(request.tenant);
        if let Some(tenant) = &known {
            tenant.count_request(request.version);
        }
        let tracker = self.tracker.as_ref();
        if tracker.is_some_and(|tracker| !tracker.is_ready()) {
            return Err(PushAnswer::unavailable(
                "starting: the HA tracker has not read its store yet; retry later",
            ));
        }
        let limits = self.limits.limits(request.tenant);
        let tracker = tracker.filter(|_| limits.accept_ha_samples);
        let Scanned {
            mut scan,
            mut message,
            block,
        } = self.scan(request, tracker, &limits, deadline).await?;
        let total = scan.total();
        let tenant = known.unwrap_or_else(|| self.admit(request, &scan));
        let samples_in = total.samples + total.histograms;
        add(&tenant.samples_in, samples_in);
        let judged = match tracker {
            Some(tracker) => {
                let judged = judge::judge(tracker, request.tenant, &scan, deadline).await?;
                scan.discard_in_place(message.bytes_mut(), &judged.discard);
                add(
                    &tenant.non_ha_samples,
                    scan.other.samples + scan.other.histograms,
                );
                judged
            }
            None => judge::Judged::default(),
        };
        let dropped = scan.dropped();
        let kept = samples_in - dropped.samples - dropped.histograms;
        let charge = self.charge(request.tenant, &tenant, &limits, kept)?;
        let all_dropped = scan.kept_series() == 0 && total.series > 0;
        let deduplicated = Written::from(judged.deduplicated);
        let mut written = Some(deduplicated);
        if scan.length > 0 && (!all_dropped || scan.metadata > 0) {
            add(&tenant.received_requests, 1);
            add(&tenant.received_samples, kept);
            let kept_counts = judge::minus(total, dropped);
            let stored = self
                .forward(request, block, &scan, message, kept_counts, deadline)
                .await;
            // A downstream that confirms nothing is not made to seem as if it did.
            written = match stored.written {
                Some(stored) => Some(stored.plus(deduplicated)),
                None => Some(deduplicated).filter(|counts| *counts != Written::default()),
            };
            if stored.is_retryable() {
                return Err(PushAnswer { written, ..stored });
            }
            if !stored.status.is_success() {
                charge.keep();
                judged.count(tracker, request.tenant, &tenant, &scan);
                return Err(PushAnswer { written, ..stored });
            }
        }
        charge.keep();
        judged.count(tracker, request.tenant, &tenant, &scan);
        if tracker.is_some() {
            let source = Source {
                tenant: request.tenant,
                client: request.client,
                now_s: self.tenants.now_s(),
            };
            tenant.untold.add(&scan, &source, &limits, &self.refusals);
        }
        let answered = (request.tenant, request.version);
        Ok(judged.answer(tracker, answered, &scan, all_dropped, written))
    }

    /// The counters of a tenant that was not known: what sends nothing gets none that stay.
    fn admit(&self, request: &PushRequest<'_>, scan: &Scan) -> Arc<Tenant> {
        let is_something = scan.total().series > 0 || scan.metadata > 0;
        let tenant = match is_something {
            true => self.tenants.admit(request.tenant),
            false => Arc::default(),
        };
        tenant.count_request(request.version);
        tenant
    }

    /// Charges what is about to be forwarded to the rate limits of tenant and instance, until the
    /// charge is dropped or kept.
    fn charge<'a>(
        &'a self,
        name: &str,
        tenant: &'a Tenant,
        limits: &Limits,
        samples: u64,
    ) -> Result<Charge<'a>, PushAnswer> {
        let of_tenant = tenant
            .rate
            .charge(samples, limits.ingestion_rate, limits.ingestion_burst_size)
            .map_err(|wait| {
                tenant.discard(Discarded::RateLimited, samples);
                PushAnswer {
                    retry_after: Some(wait),
                    ..PushAnswer::new(
                        StatusCode::TOO_MANY_REQUESTS,
                        format!(
                            "tenant {name:?} sends more than {} samples/s, its limit \
                             (limits.ingestion_rate); retry later",
                            limits.ingestion_rate,
                        ),
                    )
                }
            })?;
        let of_instance = self
            .instance_rate
            .charge(samples, self.max_ingestion_rate, 0)
            .map_err(|wait| PushAnswer {
                retry_after: Some(wait),
                ..PushAnswer::unavailable(format!(
                    "this instance receives more than {} samples/s, its limit \
                     (distributor.instance_limits.max_ingestion_rate); retry later",
                    self.max_ingestion_rate,
                ))
            })?;
        Ok(of_tenant.and(of_instance))
    }

    async fn scan(
        &self,
        request: &mut PushRequest<'_>,
        tracker: Option<&Arc<HaTracker>>,
        limits: &Limits,
        deadline: Instant,
    ) -> Result<Scanned, PushAnswer> {
        let size = request.body.plausible_size().min(self.max_recv_msg_size);
        // Before memory is taken: who waits for a turn holds no more than what arrived.
        let turn = self.long_work.turn(size as usize, deadline).await?;
        turn.run(|| {
            let (mut message, block) = self.decode(request)?;
            let mut memory = self.buffers.scratch();
            let names = tracker.map(|_| HaLabelNames {
                cluster: &limits.ha_cluster_label,
                replica: &limits.ha_replica_label,
            });
            let scan = remote_write::scan_in_place(
                request.version,
                message.bytes_mut(),
                names,
                &mut memory.scratch,
                &mut |cluster, replica| match tracker {
                    Some(tracker) => judge::peek(tracker, request.tenant, cluster, replica),
                    None => remote_write::Verdict::Keep,
                },
            )
            .map_err(|error| {
                PushAnswer::bad_request(format!(
                    "the body is not a valid remote write {} request: {error}; fix the sender",
                    request.version.header(),
                ))
            })?;
            // Nothing of it goes anywhere before it is counted.
            request.held.grow(noted_bytes(&scan))?;
            Ok(Scanned {
                scan,
                message,
                block,
            })
        })
    }

    async fn forward(
        &self,
        request: &mut PushRequest<'_>,
        block: Option<Bytes>,
        scan: &Scan,
        message: Message,
        kept: remote_write::Counts,
        deadline: Instant,
    ) -> PushAnswer {
        if self.downstreams.is_empty() {
            return PushAnswer {
                written: Some(kept.into()),
                ..PushAnswer::new(StatusCode::OK, "")
            };
        }
        let body = match block.filter(|_| !scan.modified) {
            Some(block) => {
                drop(message);
                request
                    .held
                    .shrink_to(block.len() as u64 + noted_bytes(scan));
                block
            }
            None => {
                let held = &mut request.held;
                match self.compress(message, scan, held, deadline).await {
                    Ok(body) => body,
                    Err(refused) => return refused,
                }
            }
        };
        let forward = Forward {
            body,
            version: request.version,
            tenant: request.tenant,
            headers: &request.headers,
            deadline,
        };
        self.downstreams.send(&forward).await
    }
}

/// One request in flight, until dropped.
pub(crate) struct InFlightRequest<'a> {
    _guard: InFlightGuard<'a>,
    pusher: &'a Pusher,
}

impl Drop for InFlightRequest<'_> {
    fn drop(&mut self) {
        self.pusher.inflight.dec();
    }
}
