//! [`Pusher`]: what a push request passes, step by step.

mod content;
mod destination;
#[cfg(test)]
mod hang_ups;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ha_tracker::{Clock, HaTracker};
use http::HeaderValue;
use kv_core::LogThrottle;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use remote_write::{HaRule, Scan, Version};
use tokio::time::Instant;

use crate::answer::{Outcome, PushAnswer, RETRY_AFTER, Rejection, Written};
use crate::bounds::{
    Arrival, Arrivals, Budget, Charge, Held, InFlight, InFlightRequest, TokenBucket, push_limit,
};
use crate::buffers::Message;
use crate::codec::{Codec, Content};
use crate::config::{IngestConfig, InstanceLimits, PushLimits};
use crate::counters::add;
use crate::deliveries::{self, Forwarding};
use crate::downstream::{DownstreamOutage, Downstreams};
use crate::expand::{Compression, expand};
use crate::fleet::Fleet;
use crate::gaps;
use crate::instance::{InstanceCollector, InstanceCounters, LimitsNow};
use crate::instance_limit::InstanceLimit;
use crate::judge::{self, Judged};
use crate::lossless::{self, Admitted, FailoverMetrics, Failovers, Judgement};
use crate::mixed::MixedLog;
use crate::refusals::{Occurrence, Refusal, Refusals};
use crate::request::PushRequest;
use crate::retry_after::RetryAfterHeader;
use crate::sender::Sender;
use crate::tenants::collector::TenantCollector;
use crate::tenants::{Discarded, Items, Tenant, Tenants};
use crate::unlabelled::Source;

pub(crate) use destination::Destination;

/// Everything a push needs, shared by all requests.
pub struct Pusher {
    pub(crate) tracker: Option<Arc<HaTracker>>,
    downstreams: Downstreams,
    pub(crate) tenants: Arc<Tenants>,
    codec: Codec,
    arrivals: Arrivals,
    requests: InFlight,
    memory: Arc<Budget>,
    instance: Arc<InstanceCounters>,
    instance_rate: TokenBucket,
    fleet: Fleet,
    instance_limits: Arc<LimitsNow>,
    retry_after: RetryAfterHeader,
    pub(crate) remote_timeout: Duration,
    complaints: LogThrottle,
    mixed: MixedLog,
    refusals: Refusals,
    pub(crate) failovers: OnceLock<Arc<Failovers>>,
    pub(crate) failover_metrics: FailoverMetrics,
}

/// What stays of a request while it is worked on.
#[derive(Clone, Copy)]
struct Job<'a> {
    tenant: &'a str,
    client: Option<IpAddr>,
    version: Version,
    limits: &'a PushLimits,
    /// If the tenant has HA pairs.
    rule: Option<HaRule<'a>>,
    /// If their samples are deduplicated.
    tracker: Option<&'a Arc<HaTracker>>,
    /// If failovers of their clusters are to lose nothing.
    failovers: Option<&'a Arc<Failovers>>,
    deadline: Instant,
}

impl Pusher {
    /// Builds the push path. Without a tracker every sample passes; series of the tenants whose
    /// `accept_ha_samples` is on lose the replica label as if their replica were elected.
    pub fn new(
        config: &IngestConfig,
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
        let instance_limits = &config.instance_limits;
        let most_bytes = push_limit(instance_limits.max_inflight_push_requests_bytes);
        let memory = Arc::new(Budget::new(most_bytes));
        let instance = Arc::<InstanceCounters>::default();
        let limits_now = Arc::new(LimitsNow::new(as_shown(instance_limits, most_bytes)));
        registry.register_collector(Box::new(InstanceCollector {
            memory: Arc::clone(&memory),
            counters: Arc::clone(&instance),
            limits: Arc::clone(&limits_now),
        }));
        Self {
            tracker,
            downstreams,
            tenants,
            codec: Codec::new(config.max_recv_msg_size),
            arrivals: Arrivals::register(registry),
            requests: InFlight::new(instance_limits.max_inflight_push_requests, inflight),
            memory,
            instance,
            instance_rate: TokenBucket::default(),
            fleet: Fleet::default(),
            instance_limits: limits_now,
            retry_after: config.retry_after_header.clone(),
            remote_timeout: config.remote_timeout,
            complaints: LogThrottle::default(),
            mixed: MixedLog::default(),
            refusals: Refusals::default(),
            failovers: OnceLock::new(),
            failover_metrics: FailoverMetrics::register(registry),
        }
    }

    /// From now on this decides about the clusters of requests that are
    /// [lossless](PushRequest::is_lossless); until then, they are as any others. The first one stays.
    pub fn set_failovers(&self, failovers: Arc<Failovers>) {
        // A second one would not know what the first has promised.
        let _ = self.failovers.set(failovers);
    }

    /// The instances that share the tenants' rates: nothing is known of them until it is told.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// From now on these limits hold for the instance; requests that are in flight go on.
    pub fn set_instance_limits(&self, limits: &InstanceLimits) {
        let most_bytes = push_limit(limits.max_inflight_push_requests_bytes);
        self.requests.set_limit(limits.max_inflight_push_requests);
        self.memory.set_limit(most_bytes);
        self.instance_limits.set(as_shown(limits, most_bytes));
    }

    /// When a sender is asked to try again, whole seconds; `None` if it is not. `attempt` is its
    /// [`RETRY_ATTEMPT`](crate::RETRY_ATTEMPT).
    pub fn retry_after_seconds(
        &self,
        answer: &PushAnswer,
        attempt: Option<&HeaderValue>,
    ) -> Option<u64> {
        let known = answer.retry_after_seconds()?;
        Some(self.retry_after.seconds(known, attempt))
    }

    /// Longest time that a request may take.
    pub fn remote_timeout(&self) -> Duration {
        self.remote_timeout
    }

    /// Largest body of a request, compressed and decoded each, bytes.
    pub fn max_recv_msg_size(&self) -> u64 {
        self.codec.limit()
    }

    /// To be called before a request's body is read.
    ///
    /// # Errors
    /// There are too many requests in flight: the body need not come.
    pub fn arrive(&self, sender: &Sender) -> Result<Arrival<'_>, Rejection> {
        match self.requests.is_full() {
            true => Err(self.too_many_requests()),
            false => Ok(self.arrivals.begin(sender.address)),
        }
    }

    /// To be called when a request's body is there; its place goes into the [`PushRequest`].
    ///
    /// # Errors
    /// There are too many requests in flight.
    pub fn enter(&self) -> Result<InFlightRequest<'_>, Rejection> {
        self.requests
            .enter(1)
            .ok_or_else(|| self.too_many_requests())
    }

    fn too_many_requests(&self) -> Rejection {
        let message = format!(
            "this instance has {} push requests in flight, its limit \
             (distributor.instance_limits.max_inflight_push_requests); retry later",
            self.requests.limit(),
        );
        Rejection::overloaded(InstanceLimit::InflightPushRequests, RETRY_AFTER, &message)
    }

    /// Whether push requests are in flight, or on their way.
    pub fn is_busy(&self) -> bool {
        self.requests.current() > 0 || self.arrivals.count() > 0
    }

    /// An empty one, for a body that arrives in parts.
    pub fn message(&self) -> Message {
        self.codec.message()
    }

    /// Appends a part of a body that is to have `most` bytes.
    ///
    /// # Errors
    /// Its memory would exceed what requests may hold, or it is large and got no turn to grow within
    /// the time for a request.
    pub async fn append(
        &self,
        message: &mut Message,
        part: &[u8],
        most: usize,
        held: &mut Held<'_>,
    ) -> Result<(), Rejection> {
        let deadline = Instant::now() + self.remote_timeout;
        self.codec.append(message, part, most, held, deadline).await
    }

    /// What one request holds, from its first byte to its answer: nothing yet.
    pub fn hold(&self) -> Held<'_> {
        self.memory.hold()
    }

    /// A message, decompressed: off the threads that answer others, as soon as it is large.
    ///
    /// # Errors
    /// It is not what it should be, is too large, or there is no memory or no time for it now.
    pub async fn expand(
        &self,
        compression: Compression,
        message: Message,
        held: &mut Held<'_>,
    ) -> Result<Message, Rejection> {
        expand(&self.codec, self.remote_timeout, compression, message, held).await
    }

    /// Releases memory that requests have not needed recently; must be called every few seconds.
    pub fn give_back_memory(&self) {
        self.codec.give_back_unneeded();
    }

    /// Forgets what is known of tenants that have been idle; to be called now and then.
    pub fn forget_idle_tenants(&self) {
        self.tenants.forget_idle();
    }

    /// Recent refusals by tenant, and problems of their samples. Bounded: 500 tenants that have
    /// sent something valid, and as many others.
    pub fn refusals(&self) -> Vec<Refusal> {
        self.refusals.list()
    }

    /// The downstreams that fail.
    pub fn downstream_outages(&self) -> Vec<DownstreamOutage> {
        self.downstreams.outages()
    }

    /// Writes lines about refusals that are due; to be called every few seconds.
    pub fn tell_refusals(&self) {
        self.refusals.tick();
    }

    /// Counts what was wrong with a request, and writes it into the log as far as it is not there yet;
    /// to be called with each answer.
    pub fn note(&self, sender: &Sender, answer: &PushAnswer) {
        let status = answer.status();
        if let Outcome::Rejected(Rejection::Overloaded { limit, .. }) = &answer.outcome {
            self.instance.reject(*limit);
            // Most of these limits are reached before the request is read.
            if let Some(tracker) = &self.tracker {
                tracker.refused_unread(Clock::System.now_ms());
            }
        }
        if let Some(cause) = answer.cause() {
            let occurrence = Occurrence {
                tenant: &sender.tenant,
                cause,
                count: 1,
                status: status.as_u16(),
                message: answer.message(),
                client: sender.client(),
            };
            let tenant = self.tenants.peek(&sender.tenant);
            if let Some(tenant) = &tenant
                && !cause.is_of_series()
            {
                tenant.discard_request(cause);
            }
            self.refusals.note(tenant.is_some(), &occurrence);
        } else if status.is_server_error()
            && let Some(suppressed) = self.complaints.admit()
        {
            tracing::warn!(
                tenant = sender.tenant,
                trace_id = sender.trace_id(),
                status = status.as_u16(),
                suppressed,
                "push requests fail: {}",
                answer.message()
            );
        }
    }

    /// Deduplicates and forwards one request.
    pub async fn push(&self, request: PushRequest<'_>) -> PushAnswer {
        let version = request.version;
        let answer = self.push_or_reject(request).await;
        answer.unwrap_or_else(PushAnswer::from).counted_for(version)
    }

    /// An error means that nothing of the request was forwarded.
    async fn push_or_reject(&self, request: PushRequest<'_>) -> Result<PushAnswer, Rejection> {
        let deadline = Instant::now() + self.remote_timeout;
        let PushRequest {
            tenant: name,
            client,
            version,
            limits,
            is_lossless,
            body,
            headers,
            mut held,
            // Until the end.
            in_flight: _in_flight,
        } = request;
        let known = self.tenants.known(name);
        if let Some(tenant) = &known {
            tenant.count_request(version);
        }
        let tracker = self.tracker.as_ref();
        if tracker.is_some_and(|tracker| !tracker.is_ready()) {
            return Err(Rejection::unavailable(
                "starting: the HA tracker has not read its store yet; retry later",
            ));
        }
        let job = Job {
            tenant: name,
            client,
            version,
            limits,
            rule: limits.ha_rule(),
            tracker: tracker.filter(|_| limits.accept_ha_samples),
            failovers: self.failovers.get().filter(|_| is_lossless),
            deadline,
        };
        let (mut scan, mut content) = self.scan(job, body, &mut held).await?;
        let total = scan.total();
        let tenant = known.unwrap_or_else(|| self.admit(job, &scan));
        tenant.count_in(Items::of(&scan));
        let began_ms = Clock::System.now_ms();
        let judged = match judge_content(job, &tenant, &mut scan, &mut content, began_ms).await {
            Ok(judged) => judged,
            Err(rejection) => {
                deliveries::refused(job.tracker, name, &scan, began_ms);
                return Err(rejection);
            }
        };
        let forwarding = Forwarding::checked(job.tracker, name, &scan, began_ms);
        let admitted = match self.judge_lossless(job, &judged, &scan, &content).await {
            Ok(admitted) => admitted,
            Err(rejection) => {
                forwarding.end(true);
                return Err(rejection);
            }
        };
        if let Some(standby) = admitted.standby {
            forwarding.end(false);
            let outcome = self.settle(job, &tenant, judged, &scan, true);
            return Ok(PushAnswer {
                outcome: standby.outcome(outcome),
                written: Some(total.into()),
            });
        }
        tenant.see(&scan.ages);
        self.instance.observe(&scan.ages);
        let all_dropped = scan.kept_series() == 0 && total.series > 0;
        // In a request of one replica, metadata shares the fate of the series.
        let has_metadata = scan.metadata > 0 && limits.ha_tracker_per_sample_dedupe;
        let deduplicated = Written::from(judged.deduplicated).plus(scan.outside().into());
        if scan.length == 0 || (all_dropped && !has_metadata) {
            forwarding.end(false);
            admitted.answered(false);
            return Ok(PushAnswer {
                outcome: self.settle(job, &tenant, judged, &scan, all_dropped),
                written: Some(deduplicated),
            });
        }
        let kept = Items::kept(&scan);
        let charge = match self.charge(job, &tenant, kept) {
            Ok(charge) => charge,
            Err(rejection) => {
                forwarding.end(true);
                admitted.not_stored();
                return Err(rejection);
            }
        };
        tenant.count_received(kept);
        let to = Destination {
            tenant: name,
            version,
            headers: &headers,
            deadline,
        };
        let answer = self.forward(to, content, &scan, &mut held).await;
        forwarding.end(answer.outcome.is_retryable());
        admitted.answered(answer.outcome.is_retryable());
        // A downstream that confirms nothing is not made to seem as if it did.
        let written = match answer.written {
            Some(stored) => Some(stored.plus(deduplicated)),
            None => Some(deduplicated).filter(|counts| *counts != Written::default()),
        };
        let outcome = match answer.outcome {
            Outcome::Stored => {
                charge.keep();
                gaps::stored(job.tracker, job.failovers, name, &scan);
                self.settle(job, &tenant, judged, &scan, all_dropped)
            }
            outcome => {
                if !outcome.is_retryable() {
                    charge.keep();
                    judged.count(job.tracker, name, &tenant, &scan);
                }
                outcome
            }
        };
        Ok(PushAnswer { outcome, written })
    }

    /// Asks whether the groups of a request may be forwarded, if failovers of their clusters are to
    /// lose nothing.
    async fn judge_lossless(
        &self,
        job: Job<'_>,
        judged: &Judged,
        scan: &Scan,
        content: &Content,
    ) -> Result<Admitted, Rejection> {
        let Some(failovers) = job.failovers else {
            return Ok(Admitted::default());
        };
        let judgement = Judgement {
            tenant: job.tenant,
            version: job.version,
            scan,
            content,
            deadline: job.deadline,
        };
        let is_refused = |index| judged.refuses(index);
        lossless::admit(failovers, &self.failover_metrics, judgement, is_refused).await
    }

    /// The counters of a tenant that was not known: what sends nothing gets none that stay.
    fn admit(&self, job: Job<'_>, scan: &Scan) -> Arc<Tenant> {
        let is_something = scan.total().series > 0 || scan.metadata > 0;
        let tenant = match is_something {
            true => self.tenants.admit(job.tenant),
            false => Arc::default(),
        };
        tenant.count_request(job.version);
        tenant
    }

    /// Charges what is about to be forwarded to the rate limits of tenant and instance, until the
    /// charge is dropped or kept.
    fn charge<'a>(
        &'a self,
        job: Job<'_>,
        tenant: &'a Tenant,
        items: Items,
    ) -> Result<Charge<'a>, Rejection> {
        // As in Mimir.
        let amount = items.samples + items.exemplars + items.metadata;
        let Job {
            tenant: name,
            limits,
            ..
        } = job;
        let shares = limits.rate_shares(&self.fleet);
        let rate = limits.ingestion_rate / shares as f64;
        let of_tenant = tenant
            .rate
            .charge(amount, rate, limits.ingestion_burst_size)
            .map_err(|wait| {
                tenant.discard(Discarded::RateLimited, items);
                let share = match shares {
                    1 => String::new(),
                    _ => format!(", of which this instance allows its share of 1/{shares}"),
                };
                let message = format!(
                    "tenant {name:?} sends more than {} samples/s, its limit \
                     (limits.ingestion_rate){share}; retry later",
                    limits.ingestion_rate,
                );
                Rejection::limited(wait, &message)
            })?;
        let max_ingestion_rate = self.instance_limits.get(InstanceLimit::IngestionRate);
        let of_instance = self
            .instance_rate
            .charge(amount, max_ingestion_rate, 0)
            .map_err(|wait| {
                let message = format!(
                    "this instance receives more than {max_ingestion_rate} samples/s, its limit \
                     (distributor.instance_limits.max_ingestion_rate); retry later",
                );
                Rejection::overloaded(InstanceLimit::IngestionRate, wait, &message)
            })?;
        Ok(of_tenant.and(of_instance))
    }

    /// What became of a request of which everything that was accepted has been stored.
    fn settle(
        &self,
        job: Job<'_>,
        tenant: &Tenant,
        judged: Judged,
        scan: &Scan,
        all_dropped: bool,
    ) -> Outcome {
        judged.count(job.tracker, job.tenant, tenant, scan);
        if job.tracker.is_some() {
            let source = Source {
                tenant: job.tenant,
                client: job.client,
                now_s: self.tenants.now_s(),
            };
            self.mixed.add(scan, &source, job.limits, &tenant.mixed);
            tenant.untold.add(scan, &source, job.limits, &self.refusals);
        }
        judged.outcome(job.tracker, job.tenant, scan, all_dropped)
    }
}

/// In the order of [`LimitsNow`].
fn as_shown(limits: &InstanceLimits, most_bytes: u64) -> [f64; 3] {
    [
        limits.max_inflight_push_requests as f64,
        most_bytes as f64,
        limits.max_ingestion_rate,
    ]
}

/// Asks the tracker, if there is one, about a tenant with HA pairs, and removes what is not to be
/// stored.
async fn judge_content(
    job: Job<'_>,
    tenant: &Tenant,
    scan: &mut Scan,
    content: &mut Content,
    began_ms: i64,
) -> Result<Judged, Rejection> {
    if job.rule.is_none() {
        return Ok(Judged::default());
    }
    let judged = judge::judge(job.tracker, job.tenant, scan, began_ms, job.deadline).await?;
    judged.discard(scan, content.message.bytes_mut());
    add(
        &tenant.non_ha_samples,
        scan.other.samples + scan.other.histograms,
    );
    Ok(judged)
}
