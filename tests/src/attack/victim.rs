//! The distributor that is attacked, and the measuring around it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Healthy, Outcome, Size, Usage};
use crate::{Distributor, LONG, Sink, merge};

/// The healthy client pushes so many samples before anything is measured.
const WARM_UP: usize = 50;
/// How long memory may take to go back.
const SETTLE: Duration = Duration::from_secs(45);
/// Tenant and cluster of the healthy client.
const TENANT: &str = "healthy";

/// A distributor with a sink behind it.
#[derive(Debug)]
pub struct Victim {
    /// The process.
    pub distributor: Distributor,
    /// Where its samples go.
    pub sink: Sink,
}

impl Victim {
    /// Starts one with the HA tracker on for all tenants, and `more` merged into its configuration.
    pub async fn start(more: &Value) -> Self {
        let sink = Sink::start().await;
        let config = config(&sink, more);
        let distributor = Distributor::start("victim", &config).await;
        Self { distributor, sink }
    }

    /// The configuration of another distributor like it, with the same sink.
    pub fn another(&self, more: &Value) -> String {
        config(&self.sink, more)
    }

    /// What its process uses; nothing when it is gone.
    pub fn usage(&self) -> Usage {
        Usage::of(self.distributor.process.id()).unwrap_or_default()
    }

    /// A healthy client pushes all the time: for a while alone, then beside `attack`. The attack has
    /// to have ended (its connections closed) when its future does. At full size another client pushes
    /// to a distributor that is not attacked, meanwhile: what it notices is the machine's doing, which
    /// attacker, victim and clients share, and not the victim's.
    ///
    /// # Panics
    /// When the healthy client gets no answers even before or after the attack.
    pub async fn under(
        mut self,
        size: Size,
        attack: impl AsyncFnOnce(&Self, &mut Outcome),
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let url = self.distributor.push_url();
        let process = self.distributor.process.id();

        let quiet = Healthy::begin(&url, TENANT);
        quiet.pass(WARM_UP + size.pick(0, 500), LONG).await;
        let quiet = quiet.end().await;
        let before = self.usage();
        Usage::forget_peak(process);

        let bystander = match size {
            Size::Short => None,
            Size::Full => Some(Bystander::begin().await),
        };
        let beside = Healthy::begin(&url, TENANT);
        attack(&self, &mut outcome).await;
        // In time for short attacks as well.
        beside.pass(WARM_UP, LONG).await;
        let beside = beside.end().await;
        if let Some(bystander) = bystander {
            outcome.elsewhere = Some(bystander.client.end().await);
        }

        let mut after = self.usage();
        let peak = after.peak;
        let until = Instant::now() + SETTLE;
        while !Outcome::is_back(before.resident, after.resident) && Instant::now() < until {
            sleep(Duration::from_millis(100)).await;
            after = self.usage();
        }
        outcome.before = before;
        outcome.after = after;
        outcome.peak = peak;
        for report in [&quiet, &beside] {
            let (lost, doubled) = report.lost_and_doubled(&self.sink);
            outcome.lost += lost;
            outcome.doubled += doubled;
        }
        outcome.quiet = quiet;
        outcome.beside = beside;
        let exited = self.distributor.process.exit_status();
        outcome.demand(exited.is_none(), || {
            format!("the process ended: {exited:?}")
        });
        let ready = self.distributor.get("/ready").await;
        let is_ready = ready.as_ref().is_ok_and(|answer| answer.status == 200);
        outcome.demand(is_ready, || format!("/ready after the attack: {ready:?}"));
        outcome
    }
}

/// A distributor that is not attacked, and a client of it.
struct Bystander {
    client: Healthy,
    /// Held while the client pushes.
    _distributor: Victim,
}

impl Bystander {
    async fn begin() -> Self {
        let distributor = Victim::start(&json!({})).await;
        let client = Healthy::begin(&distributor.distributor.push_url(), TENANT);
        client.pass(WARM_UP, LONG).await;
        Self {
            client,
            _distributor: distributor,
        }
    }
}

fn config(sink: &Sink, more: &Value) -> String {
    let mut config = json!({
        "distributor": {
            "downstream": [{"url": sink.url()}],
            "ha_tracker": {"enable_ha_tracker": true},
        },
        "limits": {"accept_ha_samples": true, "ha_tracker_per_sample_dedupe": true},
        "memberlist": {"bind_addr": ["127.0.0.1"], "bind_port": 0},
    });
    merge(&mut config, more);
    config.to_string()
}
