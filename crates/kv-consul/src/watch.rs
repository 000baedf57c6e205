//! Blocking queries as a stream of events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use kv_core::{Backoff, WatchEvent, WatchScope};

use crate::agent::{Agent, Answer, Blocking, Consistency, Repeat};
use crate::rate::RateLimit;
use crate::request::Request;
use crate::snapshot::Snapshot;

/// How long Consul may wait for a change; dskit's number.
const WAIT: Duration = Duration::from_secs(10);
/// Pauses between queries that fail.
const FAILURE: Backoff = Backoff {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(5),
};

type Event = WatchEvent<Vec<u8>>;

/// Events of `scope`; never ends.
pub(crate) fn watch(
    agent: Arc<Agent>,
    scope: WatchScope,
    limit: RateLimit,
) -> BoxStream<'static, Event> {
    let watch = Watch {
        agent,
        scope,
        limit,
        snapshot: Snapshot::default(),
        index: 0,
        synced: false,
        // The first snapshot of a watcher must not come from a server that lags.
        confirm: true,
        failures: 0,
        ready: VecDeque::new(),
    };
    Box::pin(stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await;
        Some((event, watch))
    }))
}

struct Watch {
    agent: Arc<Agent>,
    scope: WatchScope,
    limit: RateLimit,
    snapshot: Snapshot,
    /// Index of the last answer; 0 asks for all at once.
    index: u64,
    /// Whether the snapshot has been complete and no query failed since.
    synced: bool,
    /// The watch begins, or the index went back: Consul's leader is asked.
    confirm: bool,
    /// In a row.
    failures: u32,
    ready: VecDeque<Event>,
}

impl Watch {
    async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            self.limit.wait().await;
            if let Err(problem) = self.step().await {
                self.failures += 1;
                self.synced = false;
                if self.failures == 1 {
                    tracing::warn!(
                        scope = %self.scope,
                        %problem,
                        "consul: the watch was interrupted; trying again"
                    );
                }
                tokio::time::sleep(FAILURE.pause(self.failures)).await;
            }
        }
    }

    /// Sends one query and applies its answer.
    async fn step(&mut self) -> Result<(), String> {
        let answer = self.query().await?;
        let url = self.agent.url();
        let index = answer
            .index
            .ok_or_else(|| format!("{url}: the answer has no X-Consul-Index"))?
            // With index 0 a query would not wait.
            .max(1);
        if index < self.index {
            // Either the data were lost, or this server is behind the one that answered before, so
            // that its snapshot would revert elections. The leader knows which.
            self.index = 0;
            self.confirm = true;
            return Ok(());
        }
        if !(self.synced && index == self.index) {
            let body: &[u8] = if answer.found { &answer.body } else { b"" };
            self.snapshot
                .take(body, &mut self.ready)
                .map_err(|error| format!("{url}: {error}"))?;
            if !self.synced || self.confirm {
                self.ready.push_back(WatchEvent::Synced);
            }
        }
        if self.failures > 0 {
            let failures = self.failures;
            tracing::info!(scope = %self.scope, failures, "consul: the watch goes on");
        }
        self.index = index;
        self.synced = true;
        self.confirm = false;
        self.failures = 0;
        Ok(())
    }

    async fn query(&self) -> Result<Answer, String> {
        let request = match &self.scope {
            WatchScope::Key(key) => Request::read(key),
            WatchScope::Prefix(prefix) => Request::read_below(prefix),
        };
        let consistency = match (self.agent.consistent_reads, self.confirm) {
            (true, _) => Consistency::Quorum,
            (false, true) => Consistency::Leader,
            (false, false) => Consistency::Stale,
        };
        let blocking = (self.index > 0).then_some(Blocking {
            index: self.index,
            wait: WAIT,
        });
        // Consul adds up to a sixteenth to the time that it was asked to wait.
        let bound = self.agent.timeout + blocking.map_or(Duration::ZERO, |_| WAIT * 17 / 16);
        let asked = self.agent.ask(request, consistency, blocking, Repeat::Safe);
        match tokio::time::timeout(bound, asked).await {
            Ok(answer) => answer.map_err(|failure| failure.to_string()),
            Err(_) => Err(format!("{}: no answer within {bound:?}", self.agent.url())),
        }
    }
}
