//! The demo itself: sets everything up, follows the script, and sums up.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use remote_write_testkit::{Checker, Replica, ReplicaConfig, Sink, Version, now_ms};
use scrape_client::plain_client;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use crate::dashboard::{Dashboard, Kind, SenderRow, SinkRow};
use crate::display::Display;
use crate::distributors::Distributors;
use crate::error::DemoError;
use crate::observer::{self, Observation, Observer};
use crate::script::{DISTRIBUTORS, Phase, REPLICA_LABEL, SERIES, Script};
use crate::summary::{Ending, Failover, Summary};

const TENANT: &str = "demo";
/// The HA pair.
const CLUSTER: &str = "demo";
/// The one that is killed: not the one whose page is shown.
const KILLED: usize = 1;
/// Name, version, and when in each scrape interval it scrapes, as a part of the interval.
const SENDERS: [(&str, Version, f64); 2] = [
    ("prometheus-0", Version::V1, 0.1),
    ("prometheus-1", Version::V2, 0.6),
];
/// Time between two updates of the dashboard; a part of the scrape interval, which keeps rates steady.
const TICK: Duration = Duration::from_millis(125);
/// Of any request of the demo.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// For the senders to finish what they have in hand.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages of the senders that wait to be shown.
const PROBLEMS: usize = 32;

/// All parts of the demo.
pub(crate) struct Runner {
    script: Script,
    distributors: Distributors,
    sink: Sink,
    /// Knows what the sink has received, up to the last update of the dashboard.
    checker: Checker,
    senders: Vec<Replica>,
    observer: Observer,
    problems: mpsc::Receiver<String>,
    dashboard: Dashboard,
    begun: Instant,
    phase_begun: Instant,
    stopped: Option<Stopped>,
    /// What the failover took, once there was one.
    failover: Option<Failover>,
    /// The last pages could not be read.
    is_blind: bool,
}

/// The sender that was killed.
struct Stopped {
    index: usize,
    /// Unix ms.
    at_ms: i64,
}

impl Runner {
    /// Starts the sink and the distributors.
    pub(crate) async fn start(script: Script) -> Result<Self, DemoError> {
        let interval_ms = i64::try_from(script.scrape_interval.as_millis()).unwrap_or(i64::MAX);
        let sink = Sink::bind(0).await.map_err(DemoError::Sink)?;
        let distributors = Distributors::start(&script, &sink.url()).await?;
        let addresses: Vec<SocketAddr> = distributors.addresses();
        let client = plain_client(REQUEST_TIMEOUT)?;
        let (sender_problems, problems) = mpsc::channel(PROBLEMS);
        let senders = SENDERS.map(|(name, version, part)| {
            let config = ReplicaConfig {
                name,
                cluster: CLUSTER,
                series: SERIES,
                version,
                interval: script.scrape_interval,
                offset: script.scrape_interval.mul_f64(part),
                urls: addresses
                    .iter()
                    .map(|address| format!("http://{address}/api/v1/push"))
                    .collect(),
                receiver: "distributor",
                tenant: TENANT,
            };
            Replica::new(config, &client, sender_problems.clone())
        });
        let now = Instant::now();
        let page = addresses.first().copied().map(observer::page_url);
        let mut dashboard = Dashboard::new(script, page.unwrap_or_default());
        dashboard.log(
            Kind::Step,
            format!("{DISTRIBUTORS} distributors have found each other by gossip"),
        );
        Ok(Self {
            script,
            distributors,
            sink,
            checker: Checker::new(interval_ms, REPLICA_LABEL),
            senders: senders.into(),
            observer: Observer::new(client, &addresses),
            problems,
            dashboard,
            begun: now,
            phase_begun: now,
            stopped: None,
            failover: None,
            is_blind: false,
        })
    }

    /// Follows the script to its end. May be dropped at any time; [`Stage::end`] sums up.
    pub(crate) async fn run(&mut self, display: &mut Display) -> Ending {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                what = self.distributors.failed() => return Ending::Broken(what),
            }
            self.start_senders();
            if self.sink.has_failed() {
                return Ending::Broken("the sink ended".to_owned());
            }
            if let Some(failed) = self.senders.iter().find(|sender| sender.has_failed()) {
                return Ending::Broken(format!("{} ended by itself", failed.name()));
            }
            self.update().await;
            match display
                .show(&self.dashboard)
                .and_then(|()| display.is_quit_wanted())
            {
                Ok(false) => {}
                Ok(true) | Err(_) => return Ending::Interrupted,
            }
            match self.follow_script() {
                Ok(Phase::Draining) => return Ending::Complete,
                Ok(_) => {}
                Err(missing) => return Ending::Broken(missing.to_owned()),
            }
        }
    }

    /// Each begins when it is its turn.
    fn start_senders(&mut self) {
        let since = self.begun.elapsed();
        if self.dashboard.phase != Phase::BothSend {
            return;
        }
        for (index, sender) in self.senders.iter_mut().enumerate() {
            let begins = if index == 0 {
                Duration::ZERO
            } else {
                self.script.second_sender
            };
            if since >= begins && !sender.is_running() {
                sender.start();
                let text = format!(
                    "{} sends {SERIES} series every {:?}, to each distributor in turn",
                    sender.name(),
                    self.script.scrape_interval
                );
                self.dashboard.log(Kind::Step, text);
            }
        }
    }

    /// Brings the dashboard up to date.
    async fn update(&mut self) {
        let seen = self.observer.observe().await;
        self.dashboard.elapsed = self.begun.elapsed();
        match seen {
            Ok(seen) => {
                self.is_blind = false;
                self.take(seen);
            }
            Err(error) => {
                // Once, not at every tick.
                if !self.is_blind {
                    self.dashboard.log(Kind::Problem, error);
                }
                self.is_blind = true;
            }
        }
        while let Ok(what) = self.problems.try_recv() {
            self.dashboard.log(Kind::Problem, what);
        }
        self.sink.drain_into(&mut self.checker);
        self.dashboard.senders = self.sender_rows();
        self.dashboard.sink = self.sink_row();
    }

    /// Takes what the distributor said, and logs who was elected.
    fn take(&mut self, seen: Observation) {
        if let Some(new) = &seen.elected
            && self.dashboard.elected() != Some(&new.replica)
        {
            let why = match &self.stopped {
                Some(stopped) => {
                    let took_ms = new.since_ms.saturating_sub(stopped.at_ms);
                    let failover = Failover {
                        stopped: self.senders[stopped.index].name(),
                        took: Duration::from_millis(took_ms.max(0).unsigned_abs()),
                    };
                    let why = failover.to_string();
                    self.failover = Some(failover);
                    why
                }
                None => "the first to send".to_owned(),
            };
            let text = format!("{} is elected: {why}", new.replica);
            self.dashboard.failovers += u64::from(self.dashboard.elected().is_some());
            self.dashboard.log(Kind::Election, text);
        }
        // While they do not agree, what they last agreed on is shown.
        let elected = seen.elected.clone().or(self.dashboard.seen.elected.take());
        self.dashboard.seen = Observation { elected, ..seen };
        self.dashboard.step_rates();
    }

    fn sender_rows(&self) -> Vec<SenderRow> {
        self.senders
            .iter()
            .map(|sender| SenderRow {
                name: sender.name(),
                protocol: match sender.version() {
                    Version::V1 => "1.0",
                    Version::V2 => "2.0",
                },
                is_running: sender.is_running(),
                counts: sender.counts(),
            })
            .collect()
    }

    fn sink_row(&self) -> SinkRow {
        let now_ms = now_ms();
        let latest_ms = self.checker.latest_ms();
        let silence_ms = latest_ms.map_or(0, |latest| now_ms.saturating_sub(latest).max(0));
        SinkRow {
            counts: self.checker.counts(),
            gaps: self.checker.gaps(),
            silence: Duration::from_millis(silence_ms.unsigned_abs()),
        }
    }

    /// Goes on to the next phase if it is time, and tells which one it is then.
    fn follow_script(&mut self) -> Result<Phase, &'static str> {
        let elected = self
            .senders
            .iter()
            .position(|sender| Some(sender.name()) == self.dashboard.elected());
        let stopped = self.stopped.as_ref().map(|stopped| stopped.index);
        let is_done = elected.is_some() && elected != stopped;
        let phase = self.dashboard.phase;
        let since = self.phase_begun.elapsed();
        if !self.script.is_over(phase, since, is_done)? {
            return Ok(phase);
        }
        // Whether the last request of a sender that dies was stored, cannot be known: the demo's dies
        // between two.
        let is_open = elected.is_some_and(|index| self.senders[index].is_request_open());
        if phase == Phase::Killed && is_open {
            return Ok(phase);
        }
        let next = match phase {
            Phase::BothSend => {
                self.kill();
                Phase::Killed
            }
            Phase::Killed => {
                self.stop(elected.ok_or("no replica was elected")?);
                Phase::Stopped
            }
            Phase::Stopped => Phase::FailedOver,
            Phase::FailedOver => {
                self.bring_back();
                Phase::Returned
            }
            Phase::Returned | Phase::Draining => Phase::Draining,
        };
        self.phase_begun = Instant::now();
        self.dashboard.phase = next;
        Ok(next)
    }

    fn kill(&mut self) {
        self.observer.forget(KILLED);
        self.distributors.kill(KILLED);
        self.dashboard.log(
            Kind::Step,
            format!("distributor-{KILLED} is killed; the others have all its elections"),
        );
    }

    fn stop(&mut self, index: usize) {
        self.senders[index].kill();
        self.stopped = Some(Stopped {
            index,
            at_ms: now_ms(),
        });
        let text = format!(
            "{} is stopped abruptly; failover after {:?} of silence",
            self.senders[index].name(),
            self.script.failover_timeout
        );
        self.dashboard.log(Kind::Step, text);
    }

    fn bring_back(&mut self) {
        if let Some(stopped) = &self.stopped {
            let sender = &mut self.senders[stopped.index];
            sender.start();
            let text = format!(
                "{} is back: its samples are deduplicated, nothing changes",
                sender.name()
            );
            self.dashboard.log(Kind::Step, text);
        }
    }

    /// Lets the senders finish what they have in hand, stops everything, and sums up.
    pub(crate) async fn end(mut self, display: &mut Display, ending: Ending) -> Summary {
        self.dashboard.phase = Phase::Draining;
        let finish = join_all(self.senders.iter_mut().map(Replica::finish));
        let is_drained = tokio::time::timeout(DRAIN_TIMEOUT, finish).await.is_ok();
        self.update().await;
        self.dashboard.log(
            Kind::Step,
            "the senders have finished their last requests".to_owned(),
        );
        // The terminal may be gone; the verdict stands all the same.
        let _ = display.show(&self.dashboard);
        let ending = if is_drained || ending != Ending::Complete {
            ending
        } else {
            Ending::Broken(format!(
                "the senders got no answer within {DRAIN_TIMEOUT:?}"
            ))
        };
        self.distributors.shutdown().await;
        let acknowledged = self.senders.iter().flat_map(Replica::acknowledged);
        self.sink.drain_into(&mut self.checker);
        Summary {
            mode: self.script.mode,
            lost: self.checker.lost(acknowledged),
            counts: self.checker.counts(),
            gaps: self.checker.gaps(),
            senders: self.dashboard.senders,
            failovers: self.dashboard.failovers,
            failover: self.failover,
            elected: self.dashboard.seen.elected.map(|elected| elected.replica),
            ending,
        }
    }
}
