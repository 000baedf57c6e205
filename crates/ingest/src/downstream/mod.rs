//! The remote-write client: forwards accepted samples to one or several backends.
//!
//! There is no queue: the sender's own write-ahead log is the queue, and each request is answered
//! after every downstream has answered.

mod auth;
mod body;
mod client;
mod connections;
mod endpoints;
mod error;
mod exchange;
mod forward;
mod framing;
mod outage;
mod stream;

use std::sync::Arc;

use futures::future::join_all;
use prometheus_client::registry::Registry;
use watched_files::Reload;

use crate::answer::{Outcome, PushAnswer};
use crate::config::DownstreamConfig;
use client::{Downstream, DownstreamMetrics};
pub use client::{WRITTEN_EXEMPLARS, WRITTEN_HISTOGRAMS, WRITTEN_SAMPLES, WriteContext};
pub use error::DownstreamError;
pub(crate) use forward::Forward;
pub use outage::DownstreamOutage;

/// All configured downstreams.
#[derive(Default)]
pub struct Downstreams {
    all: Vec<Downstream>,
}

impl Downstreams {
    /// Prepares a client for each. Reads certificates; connects to nothing.
    ///
    /// # Errors
    /// The first downstream that cannot be used as configured.
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

    /// With this, requests to downstreams carry the context of their own span instead of the
    /// sender's.
    #[must_use]
    pub fn writing_context(self, write_context: WriteContext) -> Self {
        let all = self.all.into_iter();
        let all = all.map(|downstream| downstream.writing_context(write_context));
        Self { all: all.collect() }
    }

    /// Whether there is no downstream.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Requests that can be in flight at a time.
    #[cfg(test)]
    pub(crate) fn free(&self) -> u64 {
        self.all.iter().map(Downstream::free).sum()
    }

    /// Downstreams that fail, in the order of the configuration.
    pub fn outages(&self) -> Vec<DownstreamOutage> {
        self.all.iter().filter_map(Downstream::outage).collect()
    }

    /// The files of certificates and secrets, each with the setting that names them.
    pub fn files(&self) -> impl Iterator<Item = (String, Arc<dyn Reload>)> {
        let all = self.all.iter().flat_map(Downstream::files);
        all.filter(|(_, source)| !source.files().is_empty())
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

/// A temporary failure outranks a permanent one: the sender tries again, and a backend that already
/// has the samples accepts them again without harm. A refusal outranks success.
fn worst(answers: Vec<PushAnswer>) -> PushAnswer {
    let rank = |answer: &PushAnswer| {
        if answer.status().is_server_error() {
            3
        } else if answer.outcome.is_retryable() {
            2
        } else if answer.outcome == Outcome::Stored {
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
    let wait = answers.iter().filter_map(PushAnswer::wait).max();
    // Of equal rank, the first.
    let worst = answers.into_iter().rev().max_by_key(rank);
    let worst = worst.map_or(Outcome::Stored, |worst| worst.outcome);
    PushAnswer {
        outcome: match wait {
            Some(wait) => worst.after(wait),
            None => worst,
        },
        written,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;

    use super::*;
    use crate::answer::{DownstreamAnswer, Written};

    fn answer(status: u16, samples: Option<u64>) -> PushAnswer {
        waiting(status, samples, None)
    }

    fn waiting(status: u16, samples: Option<u64>, wait: Option<Duration>) -> PushAnswer {
        let status = StatusCode::from_u16(status).unwrap();
        let outcome = match status.is_success() {
            true => Outcome::Stored,
            false => Outcome::Downstream(DownstreamAnswer {
                status,
                wait,
                message: format!("said {status}"),
            }),
        };
        PushAnswer {
            outcome,
            written: samples.map(|samples| Written {
                samples,
                ..Written::default()
            }),
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
            assert_eq!(worst(answers).status().as_u16(), expected, "{statuses:?}");
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
        let wait = |seconds| waiting(503, None, Some(Duration::from_secs(seconds)));
        let answer = worst(vec![wait(1), wait(30), answer(200, None)]);
        assert_eq!(answer.wait(), Some(Duration::from_secs(30)));
    }
}
