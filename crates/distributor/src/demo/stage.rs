//! The demo itself: sets everything up, follows the script, and sums up.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::{join_all, select_all};
use remote_write::Version;
use remote_write_testkit::{Checker, Replica, ReplicaConfig, Sink, now_ms};
use scrape_client::plain_client;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::DemoError;
use super::board::{Board, Kind, SenderRow, SinkRow};
use super::observe::{self, Observation, Observer};
use super::screen::Screen;
use super::script::{Phase, SERIES, Script};
use super::summary::{Ending, Summary};
use crate::config::{self, Config, Invocation};
use crate::{Running, start};

const TENANT: &str = "demo";
/// The HA pair.
const CLUSTER: &str = "demo";
/// Label that names the HA pair.
const CLUSTER_LABEL: &str = "cluster";
/// Label that names the replica.
const REPLICA_LABEL: &str = "__replica__";
const DISTRIBUTORS: usize = 3;
/// The one that is killed: not the one whose page is shown.
const KILLED: usize = 1;
/// Name, version, and when in each scrape interval it scrapes, as a part of the interval.
const SENDERS: [(&str, Version, f64); 2] = [
    ("prometheus-0", Version::V1, 0.1),
    ("prometheus-1", Version::V2, 0.6),
];
/// Time between two looks at everything; a part of the scrape interval, which keeps rates steady.
const TICK: Duration = Duration::from_millis(125);
/// Of any request of the demo.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// For the senders to finish what they have in hand.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages of the senders that wait to be shown.
const PROBLEMS: usize = 32;

/// Everything that takes part.
pub(super) struct Stage {
    script: Script,
    /// `None`: killed.
    distributors: Vec<Option<Running>>,
    sink: Sink,
    /// Knows what the sink has received, up to the last update of the board.
    checker: Checker,
    senders: Vec<Replica>,
    observer: Observer,
    problems: mpsc::Receiver<String>,
    board: Board,
    begun: Instant,
    phase_begun: Instant,
    stopped: Option<Stopped>,
    is_blind: bool,
}

/// The sender that was killed.
struct Stopped {
    index: usize,
    /// Unix ms.
    at_ms: i64,
}

impl Stage {
    /// Starts the sink and the distributors.
    pub(super) async fn set(script: Script) -> Result<Self, DemoError> {
        let interval_ms = i64::try_from(script.scrape_interval.as_millis()).unwrap_or(i64::MAX);
        let sink = Sink::bind(0).await.map_err(DemoError::Sink)?;
        let distributors = start_distributors(&script, &sink.url()).await?;
        let addresses: Vec<SocketAddr> = distributors
            .iter()
            .map(|distributor| distributor.http_address)
            .collect();
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
        let page = addresses.first().copied().map(observe::page_url);
        let mut board = Board::new(script, page.unwrap_or_default());
        board.log(
            Kind::Step,
            format!("{DISTRIBUTORS} distributors have found each other by gossip"),
        );
        Ok(Self {
            script,
            distributors: distributors.into_iter().map(Some).collect(),
            sink,
            checker: Checker::new(interval_ms, REPLICA_LABEL),
            senders: senders.into(),
            observer: Observer::new(client, &addresses),
            problems,
            board,
            begun: now,
            phase_begun: now,
            stopped: None,
            is_blind: false,
        })
    }

    /// Follows the script to its end. May be dropped at any time; [`Stage::end`] sums up.
    pub(super) async fn play(&mut self, screen: &mut Screen) -> Ending {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                what = any_failed(&mut self.distributors) => return Ending::Broken(what),
            }
            self.start_senders();
            if self.sink.has_failed() {
                return Ending::Broken("the sink ended".to_owned());
            }
            if let Some(failed) = self.senders.iter().find(|sender| sender.has_failed()) {
                return Ending::Broken(format!("{} ended by itself", failed.name()));
            }
            self.look().await;
            match screen
                .show(&self.board)
                .and_then(|()| screen.is_quit_wanted())
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
        if self.board.phase != Phase::BothSend {
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
                self.board.log(Kind::Step, text);
            }
        }
    }

    /// Brings the board up to date.
    async fn look(&mut self) {
        let seen = self.observer.observe().await;
        self.board.elapsed = self.begun.elapsed();
        match seen {
            Ok(seen) => {
                self.is_blind = false;
                self.take(seen);
            }
            Err(error) => {
                // Once, not at every look.
                if !self.is_blind {
                    self.board.log(Kind::Trouble, error);
                }
                self.is_blind = true;
            }
        }
        while let Ok(what) = self.problems.try_recv() {
            self.board.log(Kind::Trouble, what);
        }
        self.sink.drain_into(&mut self.checker);
        self.board.senders = self.sender_rows();
        self.board.sink = self.sink_row();
    }

    /// Takes what the distributor said, and logs who was elected.
    fn take(&mut self, seen: Observation) {
        if let Some(new) = &seen.elected
            && self.board.elected() != Some(&new.replica)
        {
            let why = match &self.stopped {
                Some(stopped) => {
                    let silence_ms = new.since_ms.saturating_sub(stopped.at_ms);
                    let name = self.senders[stopped.index].name();
                    format!("{:.1} s after {name} stopped", silence_ms as f64 / 1000.0)
                }
                None => "the first to send".to_owned(),
            };
            let text = format!("{} is elected: {why}", new.replica);
            self.board.failovers += u64::from(self.board.elected().is_some());
            self.board.log(Kind::Election, text);
        }
        // While they do not agree, what they last agreed on is shown.
        let elected = seen.elected.clone().or(self.board.seen.elected.take());
        self.board.seen = Observation { elected, ..seen };
        self.board.step_rates();
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
            .position(|sender| Some(sender.name()) == self.board.elected());
        let stopped = self.stopped.as_ref().map(|stopped| stopped.index);
        let is_done = elected.is_some() && elected != stopped;
        let phase = self.board.phase;
        let since = self.phase_begun.elapsed();
        if !self.script.is_over(phase, since, is_done)? {
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
        self.board.phase = next;
        Ok(next)
    }

    /// Ends one distributor like a crash: connections are cut, gossip does not hear of it.
    fn kill(&mut self) {
        self.observer.forget(KILLED);
        self.distributors[KILLED] = None;
        self.board.log(
            Kind::Step,
            format!("distributor-{KILLED} is killed; the others know all that it knew"),
        );
    }

    fn stop(&mut self, index: usize) {
        self.senders[index].kill();
        self.stopped = Some(Stopped {
            index,
            at_ms: now_ms(),
        });
        let text = format!(
            "{} is stopped like a crash; failover after {:?} of silence",
            self.senders[index].name(),
            self.script.failover_timeout
        );
        self.board.log(Kind::Step, text);
    }

    fn bring_back(&mut self) {
        if let Some(stopped) = &self.stopped {
            let sender = &mut self.senders[stopped.index];
            sender.start();
            let text = format!(
                "{} is back: its samples are deduplicated, nothing changes",
                sender.name()
            );
            self.board.log(Kind::Step, text);
        }
    }

    /// Lets the senders finish what they have in hand, stops everything, and sums up.
    pub(super) async fn end(mut self, screen: &mut Screen, ending: Ending) -> Summary {
        self.board.phase = Phase::Draining;
        let finish = join_all(self.senders.iter_mut().map(Replica::finish));
        let is_drained = tokio::time::timeout(DRAIN_TIMEOUT, finish).await.is_ok();
        self.look().await;
        self.board.log(
            Kind::Step,
            "the senders have finished what they had in hand".to_owned(),
        );
        // Whoever looked may be gone; the verdict stands all the same.
        let _ = screen.show(&self.board);
        let ending = if is_drained || ending != Ending::Complete {
            ending
        } else {
            Ending::Broken(format!(
                "the senders got no answer within {DRAIN_TIMEOUT:?}"
            ))
        };
        let running = self.distributors.into_iter().flatten();
        join_all(running.map(Running::shutdown)).await;
        let acknowledged = self.senders.iter().flat_map(Replica::acknowledged);
        self.sink.drain_into(&mut self.checker);
        Summary {
            lost: self.checker.lost(acknowledged),
            counts: self.checker.counts(),
            gaps: self.checker.gaps(),
            senders: self.board.senders,
            failovers: self.board.failovers,
            elected: self.board.seen.elected.map(|elected| elected.replica),
            ending,
        }
    }
}

/// Starts all distributors, each of which joins the first; returns when they know each other.
async fn start_distributors(script: &Script, downstream: &str) -> Result<Vec<Running>, DemoError> {
    let mut running: Vec<Running> = Vec::new();
    for index in 0..DISTRIBUTORS {
        let first = running.first().and_then(Running::gossip_address);
        let config = configuration(script, downstream, index, first)?;
        let distributor = start(config).await?;
        distributor.ready().await;
        running.push(distributor);
    }
    Ok(running)
}

/// Waits for a distributor to fail.
async fn any_failed(distributors: &mut [Option<Running>]) -> String {
    let failures = distributors.iter_mut().flatten().map(Running::failed);
    select_all(failures.map(Box::pin)).await.0.to_string()
}

/// As a user would configure it, by flags, with timeouts short enough to watch.
fn configuration(
    script: &Script,
    downstream: &str,
    index: usize,
    join: Option<SocketAddr>,
) -> Result<Config, DemoError> {
    let update = script.update_timeout.as_millis();
    let failover = script.failover_timeout.as_millis();
    let mut flags = vec![
        "-server.http-listen-address=127.0.0.1".to_owned(),
        "-server.http-listen-port=0".to_owned(),
        "-server.grpc-listen-address=127.0.0.1".to_owned(),
        "-server.grpc-listen-port=0".to_owned(),
        "-server.grpc-listen-address=127.0.0.1".to_owned(),
        "-server.grpc-listen-port=0".to_owned(),
        "-distributor.ha-tracker.enable".to_owned(),
        "-distributor.ha-tracker.enable-for-all-users".to_owned(),
        "-memberlist.bind-addr=127.0.0.1".to_owned(),
        "-memberlist.bind-port=0".to_owned(),
        format!("-memberlist.nodename=distributor-{index}"),
        "-memberlist.randomize-node-name=false".to_owned(),
        format!("-distributor.ha-tracker.cluster={CLUSTER_LABEL}"),
        format!("-distributor.ha-tracker.replica={REPLICA_LABEL}"),
        format!("-distributor.ha-tracker.update-timeout={update}ms"),
        "-distributor.ha-tracker.update-timeout-jitter-max=0s".to_owned(),
        format!("-distributor.ha-tracker.failover-timeout={failover}ms"),
        format!("-distributor.downstream.url={downstream}"),
    ];
    flags.extend(join.map(|address| format!("-memberlist.join={address}")));
    // Not the environment: the demo is the same everywhere.
    let no_variables = std::iter::empty();
    match config::load(flags.into_iter().map(Into::into), no_variables)
        .map_err(DemoError::Config)?
    {
        Invocation::Run(loaded) | Invocation::Check(loaded) => Ok(loaded.config),
        Invocation::Help(_) | Invocation::Version => {
            Err(DemoError::Config(config::ConfigErrors(Vec::new())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_has_no_mistakes() {
        for script in [Script::FULL, Script::QUICK] {
            let join = Some(([127, 0, 0, 1], 7946).into());
            let config = configuration(&script, "http://127.0.0.1:9/api/v1/push", 0, join).unwrap();
            assert!(config.distributor.ha_tracker.enable_ha_tracker);
            assert!(config.limits.accept_ha_samples);
            assert_eq!(
                config.limits.elections.failover_timeout,
                script.failover_timeout
            );
        }
    }
}
