//! The content of a request: scanned, and forwarded.

use ha_tracker::Clock;
use remote_write::{HaRule, Scan, Verdict, Version, Window, scan_in_place};
use tokio::time::Instant;

use super::{Destination, Job, Pusher};
use crate::answer::{Outcome, PushAnswer, Rejection};
use crate::bounds::Held;
use crate::codec::Content;
use crate::downstream::Forward;
use crate::judge;
use crate::request::PushBody;

impl Job<'_> {
    /// The verdict on the elected replica of a cluster.
    fn within_term(&self, cluster: &str) -> Verdict {
        let boundary = self
            .failovers
            .and_then(|failovers| failovers.after_ms(self.tenant, cluster));
        match boundary {
            Some(after_ms) => Verdict::Within(Window {
                after_ms,
                until_ms: i64::MAX,
            }),
            None => Verdict::Keep,
        }
    }
}

impl Pusher {
    pub(super) async fn scan(
        &self,
        job: Job<'_>,
        body: PushBody,
        held: &mut Held<'_>,
    ) -> Result<(Scan, Content), Rejection> {
        let mut verdict = |cluster: &str, replica: &str| {
            let Some(tracker) = job.tracker else {
                return Verdict::Keep;
            };
            match judge::peek(tracker, job.tenant, cluster, replica) {
                Verdict::Keep => job.within_term(cluster),
                verdict => verdict,
            }
        };
        let scanned = self.scan_body(
            job.version,
            job.rule,
            job.deadline,
            body,
            held,
            &mut verdict,
        );
        let (scan, mut content) = scanned.await?;
        // From here on it may wait: for an election, for what is held, or for the downstream.
        match scan.modified && job.failovers.is_none() {
            true => content.forget_block(),
            false => content.keep_block(),
        }
        Ok((scan, content))
    }

    /// Decodes and scans a body.
    pub(crate) async fn scan_body(
        &self,
        version: Version,
        rule: Option<HaRule<'_>>,
        deadline: Instant,
        body: PushBody,
        held: &mut Held<'_>,
        verdict: &mut (dyn FnMut(&str, &str) -> Verdict + Send),
    ) -> Result<(Scan, Content), Rejection> {
        self.codec
            .scan(body, held, deadline, |message, scratch| {
                scratch.now_ms = Clock::System.now_ms();
                scan_in_place(version, message, rule, scratch, verdict).map_err(|error| {
                    Rejection::malformed(format!(
                        "the body is not a valid remote write {} request: {error}; fix the sender",
                        version.header(),
                    ))
                })
            })
            .await
    }

    /// Forwards what the scan left.
    pub(crate) async fn forward(
        &self,
        to: Destination<'_>,
        content: Content,
        scan: &Scan,
        held: &mut Held<'_>,
    ) -> PushAnswer {
        if self.downstreams.is_empty() {
            let kept = judge::minus(scan.total(), scan.dropped());
            return PushAnswer {
                outcome: Outcome::Stored,
                written: Some(kept.into()),
            };
        }
        let body = match self.codec.block(content, scan, held, to.deadline).await {
            Ok(body) => body,
            Err(rejection) => return rejection.into(),
        };
        let forward = Forward {
            body,
            version: to.version,
            tenant: to.tenant,
            headers: to.headers,
            deadline: to.deadline,
        };
        self.downstreams.send(&forward).await
    }
}
