//! The remote-write sender: what was accepted goes on to one or several backends.
//!
//! There is no queue: the sender's own write-ahead log is the queue, and each request is answered
//! after every downstream has answered.

mod auth;
mod body;
mod client;
mod connections;
mod trouble;

use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderMap, StatusCode};
use prometheus_client::registry::Registry;
use remote_write::Version;
use tokio::time::Instant;

use crate::config::DownstreamConfig;
use crate::push::PushAnswer;
use client::{Downstream, DownstreamMetrics};
pub(crate) use client::{WRITTEN_EXEMPLARS, WRITTEN_HISTOGRAMS, WRITTEN_SAMPLES};
pub use trouble::DownstreamTrouble;

/// Why the downstreams cannot be used as configured.
#[derive(Debug, thiserror::Error)]
#[error("downstream {name:?}: {what}: {source}")]
pub struct DownstreamError {
    name: String,
    what: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// What is sent on.
#[derive(Debug)]
pub(crate) struct Forward<'a> {
    /// A snappy block.
    pub(crate) body: Bytes,
    pub(crate) version: Version,
    pub(crate) tenant: &'a str,
    /// Headers of the incoming request.
    pub(crate) headers: &'a HeaderMap,
    pub(crate) deadline: Instant,
}

/// All configured downstreams.
#[derive(Default)]
pub struct Downstreams {
    all: Vec<Downstream>,
}

impl Downstreams {
    /// Prepares a client for each. Reads certificates; connects to nothing.
    pub fn new(
        configs: &[DownstreamConfig],
        registry: &mut Registry,
    ) -> Result<Self, DownstreamError> {
        let metrics = DownstreamMetrics::register(registry);
        let all = configs
            .iter()
            .map(|config| Downstream::new(config, metrics.clone()))
            .collect::<Result<_, _>>()?;
        Ok(Self { all })
    }

    /// Whether accepted samples go nowhere.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Requests that would have a place at once.
    #[cfg(test)]
    pub(crate) fn free(&self) -> u64 {
        self.all.iter().map(Downstream::free).sum()
    }

    /// Those that fail, in the order of the configuration.
    pub fn troubles(&self) -> Vec<DownstreamTrouble> {
        self.all.iter().filter_map(Downstream::trouble).collect()
    }

    /// Sends to all at once and answers with the worst outcome.
    pub(crate) async fn send(&self, forward: &Forward<'_>) -> PushAnswer {
        if let [only] = self.all.as_slice() {
            return only.send(forward).await;
        }
        let answers = join_all(self.all.iter().map(|downstream| downstream.send(forward))).await;
        worst(answers)
    }
}

/// What may succeed later outranks what cannot: the sender tries again, and a backend that has the
/// samples already takes them once more without harm. A refusal outranks success.
fn worst(answers: Vec<PushAnswer>) -> PushAnswer {
    let rank = |answer: &PushAnswer| {
        if answer.status.is_server_error() {
            3
        } else if answer.is_retryable() {
            2
        } else if answer.status.is_success() {
            0
        } else {
            1
        }
    };
    let written = answers
        .iter()
        .map(|answer| answer.written)
        .reduce(|all, one| Some(all?.at_most(one?)))
        .flatten();
    let retry_after = answers.iter().filter_map(|answer| answer.retry_after).max();
    // Of equal rank, the first.
    let worst = answers.into_iter().rev().max_by_key(rank);
    let worst = worst.unwrap_or_else(|| PushAnswer::new(StatusCode::OK, ""));
    let retry_after = retry_after.filter(|_| worst.is_retryable());
    PushAnswer {
        written,
        retry_after,
        ..worst
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::push::Written;

    fn answer(status: u16, samples: Option<u64>) -> PushAnswer {
        PushAnswer {
            written: samples.map(|samples| Written {
                samples,
                ..Written::default()
            }),
            ..PushAnswer::new(
                StatusCode::from_u16(status).unwrap(),
                format!("said {status}"),
            )
        }
    }

    #[test]
    fn all_must_succeed_and_what_can_be_retried_outranks_what_cannot() {
        for (statuses, expected) in [
            (vec![200, 204], 200),
            (vec![200, 400], 400),
            (vec![400, 429], 429),
            (vec![429, 503, 400], 503),
            (vec![502, 500], 502),
        ] {
            let answers = statuses
                .iter()
                .map(|status| answer(*status, None))
                .collect();
            assert_eq!(worst(answers).status.as_u16(), expected, "{statuses:?}");
        }
    }

    #[test]
    fn only_what_all_confirm_counts_as_written() {
        assert_eq!(
            worst(vec![answer(204, Some(5)), answer(204, None)]).written,
            None
        );
        let both = worst(vec![answer(204, Some(5)), answer(204, Some(3))]);
        assert_eq!(both.written.unwrap().samples, 3);
    }

    #[test]
    fn the_longest_wait_is_passed_on() {
        let wait = |seconds| PushAnswer {
            retry_after: Some(Duration::from_secs(seconds)),
            ..answer(503, None)
        };
        let answer = worst(vec![wait(1), wait(30), answer(200, None)]);
        assert_eq!(answer.retry_after, Some(Duration::from_secs(30)));
    }
}
