//! Surveys the senders of all clusters, and says when something is wrong with their clocks.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::cache::Cache;
use crate::clock::Clock;
use crate::survey::{Findings, Survey};

/// Time between two surveys.
const EVERY: Duration = Duration::from_secs(10);
/// A problem that has not been found for this long is over: one that comes and goes is logged once.
const OVER_AFTER: Duration = Duration::from_secs(5 * 60);

/// Takes a survey regularly.
pub(crate) struct TakeSurveys {
    pub(crate) cache: Arc<Cache>,
    pub(crate) survey: Arc<Survey>,
    pub(crate) clock: Clock,
}

impl TakeSurveys {
    pub(crate) async fn run(self) {
        let mut last_ahead = None;
        loop {
            self.survey.take(&self.cache, self.clock.now_ms());
            tell(&self.survey.last(), &mut last_ahead);
            tokio::time::sleep(EVERY).await;
        }
    }
}

fn tell(findings: &Findings, last_ahead: &mut Option<Instant>) {
    match &findings.senders_ahead {
        Some(ahead) => {
            let [tenant, cluster, replica] = &ahead.furthest;
            if last_ahead.replace(Instant::now()).is_none() {
                let (replicas, seconds) = (ahead.replicas, ahead.ahead_ms as f64 / 1000.0);
                tracing::warn!(
                    tenant,
                    cluster,
                    replica,
                    seconds,
                    replicas,
                    "samples of a replica are ahead of this clock when they arrive: its clock is \
                     ahead, or its targets set wrong timestamps; synchronize all clocks by NTP"
                );
            }
        }
        None => {
            if last_ahead
                .take_if(|last| last.elapsed() >= OVER_AFTER)
                .is_some()
            {
                tracing::info!("no replica's samples are ahead of this clock any more");
            }
        }
    }
}
