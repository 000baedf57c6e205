//! The migration check: a fleet under load goes from Consul or etcd to memberlist, step by step as
//! the guide says, and no sample is lost or doubled on the way.
//!
//! `cargo xtask migrate` and the tests of `tests/migration` call [`run`]. What is to happen is data
//! (`plan`), what has arrived is judged by [`Ledger`](crate::Ledger), both without a network; `check` looks at
//! a running fleet as an operator would.

mod beside;
mod check;
mod disturb;
mod fleet;
mod plan;
mod rendered;
mod report;
mod scale;
mod server;
mod status;

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

pub use plan::{OldStore, Protocol, Step};
pub use report::{Report, Row};

use beside::Beside;
use check::{Elections, settled};
use fleet::{Fleet, SIZE};
use plan::{Leg, Surroundings, Walk};
use scale::Scale;
use server::OldServer;

use crate::{Account, Sink};

/// What to check.
#[derive(Debug, Clone)]
pub struct Options {
    /// The store to move away from.
    pub from: OldStore,
    /// How the distributors gossip.
    pub protocol: Protocol,
    /// Take the configurations that the Helm chart renders for each step.
    pub chart: bool,
    /// Move the fleet to this protocol in the end, by way of the old store.
    pub change_to: Option<Protocol>,
    /// A member of Mimir's code is in the ring, from the first step to the last.
    pub beside_go: bool,
    /// Take steps 2 to 4 by the runtime configuration instead of restarts.
    pub runtime: bool,
    /// Kill distributors, and disturb the old store while it is the secondary.
    pub chaos: bool,
    /// Let an elected replica fall silent in each step.
    pub failover: bool,
    /// Go forwards to this step, and back.
    pub rollback_at: Option<Step>,
    /// Seconds instead of minutes.
    pub quick: bool,
    /// Leave the folders of all processes where they are.
    pub keep: bool,
}

impl Options {
    /// The shortest run from a store.
    pub fn quick(from: OldStore) -> Self {
        Self {
            from,
            protocol: Protocol::Chitchat,
            chart: false,
            change_to: None,
            beside_go: false,
            runtime: false,
            chaos: false,
            failover: false,
            rollback_at: None,
            quick: true,
            keep: false,
        }
    }

    /// A write to the secondary is given up after this time, and a push with a slow secondary takes
    /// less.
    fn mirror_timeout(&self) -> Duration {
        Duration::from_secs(match (self.quick, self.chaos) {
            (false, _) => 1,
            // Beside other tests, on a machine that they keep busy.
            (true, true) => 2,
            (true, false) => 10,
        })
    }

    fn scale(&self) -> Scale {
        let millis = if self.quick { 200 } else { 125 };
        Scale {
            tenants: 3,
            busy: if self.quick { 2 } else { 4 },
            idle: 1,
            interval: Duration::from_millis(millis),
        }
    }

    /// Ticks that pass between two steps.
    fn dwell(&self) -> u64 {
        if self.quick { 3 } else { 40 }
    }

    fn surroundings(&self, old: &OldServer, downstream: String) -> Surroundings {
        // Long enough that no restart makes a replica seem silent.
        let failover = if self.failover { "4s" } else { "25s" };
        Surroundings {
            old: self.from,
            old_section: old.section(),
            downstream,
            runtime: self.runtime,
            limits: json!({
                "ha_tracker_update_timeout": "500ms",
                "ha_tracker_update_timeout_jitter_max": "100ms",
                "ha_tracker_failover_timeout": failover,
            }),
            mirror_timeout: format!("{}s", self.mirror_timeout().as_secs()),
            beside: None,
            rendered: match self.chart {
                true => rendered::steps(self.from),
                false => Vec::new(),
            },
        }
    }
}

/// Walks a fleet through the steps, and prints a row for each.
///
/// # Panics
/// When the harness fails: the old store or the first distributors do not start.
pub async fn run(options: &Options) -> Report {
    let old = OldServer::start(options.from).await;
    let sink = Sink::start().await;
    let begun = Instant::now();
    let mut surroundings = options.surroundings(&old, sink.url());
    let mut beside = None;
    if options.beside_go {
        let member = Beside::start(&surroundings).await;
        surroundings.beside = Some(member.go.gossip());
        beside = Some(member);
    }
    let fleet = Fleet::start(surroundings, beside, old, sink, options.scale()).await;
    let mut run = Run {
        options: options.clone(),
        fleet,
        report: Report::default(),
        elected: Elections::new(),
        reelected: 0,
        begun,
    };
    println!("{}", Report::header());
    if let Err(problem) = run.everything().await {
        eprint!("{}", run.fleet.logs());
        run.report.problems.push(problem);
    }
    if options.keep {
        for folder in run.fleet.keep_folders() {
            println!("kept: {}", folder.display());
        }
    }
    run.report
}

struct Run {
    options: Options,
    fleet: Fleet,
    report: Report,
    /// Who was elected when it was looked at last.
    elected: Elections,
    /// The expected number of further elections.
    reelected: usize,
    /// When the row that comes next began.
    begun: Instant,
}

/// What a row must say besides.
#[derive(Clone, Copy, Default)]
struct Expected {
    elections: usize,
    p99_below: Option<Duration>,
}

impl Run {
    async fn everything(&mut self) -> Result<(), String> {
        self.start().await?;
        let walk = Walk {
            runtime: self.options.runtime,
            rollback_at: self.options.rollback_at,
            protocol: self.options.protocol,
            change_to: self.options.change_to,
        };
        let legs = walk.legs();
        for leg in &legs {
            self.leg(*leg).await?;
        }
        let last = legs.last().map_or(Step::FIRST, |leg| leg.to);
        if last == Step::LAST {
            self.fleet.old.stop();
            self.go_on("old store stopped", last).await?;
        } else {
            self.go_on("after the way back", last).await?;
        }
        let whole = self.fleet.whole_account();
        let rows = &self.report.rows;
        let counted = |of: fn(&Account) -> usize| rows.iter().map(|row| of(&row.account)).sum();
        let (lost, doubled): (usize, usize) = (
            counted(|account| account.lost.len()),
            counted(|account| account.doubled.len()),
        );
        if (whole.lost.len(), whole.doubled.len()) != (lost, doubled) {
            let problem = "what arrived late changed an account";
            self.report.problems.push(problem.to_owned());
        }
        let strangers = self.fleet.ledger.strangers();
        if let Some(first) = strangers.first() {
            let count = strangers.len();
            let problem = format!("{count} things that must not be, such as {first}");
            self.report.problems.push(problem);
        }
        Ok(())
    }

    async fn start(&mut self) -> Result<(), String> {
        self.fleet.load.pass(scale::SHORT_LIVED).await?;
        settled(&self.fleet).await?;
        check::verified(&self.fleet, Step::FIRST).await?;
        status::lets_go_on(&self.fleet, Step::FIRST).await?;
        self.fleet.load.pass(self.options.dwell()).await?;
        let expected = Expected {
            elections: self.fleet.clusters().len(),
            ..Expected::default()
        };
        self.row(title(Step::FIRST), expected).await
    }

    /// One distributor after the other.
    async fn leg(&mut self, leg: Leg) -> Result<(), String> {
        for number in 0..SIZE {
            self.fleet.switch(number, leg).await?;
            // As long as they are on two steps, they must agree as well.
            settled(&self.fleet).await?;
            if number == 0 {
                status::sees_a_roll_out(&self.fleet).await?;
            }
            if number == 0 && self.options.chaos {
                disturb::kill_one(&mut self.fleet, 1).await?;
            }
        }
        check::verified(&self.fleet, leg.to).await?;
        status::lets_go_on(&self.fleet, leg.to).await?;
        self.fleet.load.pass(self.options.dwell()).await?;
        let name = match leg.from < leg.to {
            true if leg.protocol != self.options.protocol => {
                format!("{} ({})", title(leg.to), leg.protocol.name())
            }
            true => title(leg.to),
            false => format!("{} (back)", title(leg.to)),
        };
        self.row(name, Expected::default()).await?;
        if self.options.chaos {
            self.chaos(leg.to).await?;
        }
        if self.options.failover {
            self.fail_over(leg.to).await?;
        }
        Ok(())
    }

    /// What can happen to an old store that is the secondary.
    async fn chaos(&mut self, step: Step) -> Result<(), String> {
        let Some(multi) = step.multi(self.options.from) else {
            return Ok(());
        };
        if multi.secondary != self.options.from.name() {
            return Ok(());
        }
        let unharmed = Expected {
            p99_below: Some(self.options.mirror_timeout()),
            ..Expected::default()
        };
        if !multi.mirror_enabled {
            disturb::absent_and_not_missed(&self.fleet, self.options.dwell()).await?;
            return self
                .row(format!("{step}   old store absent"), unharmed)
                .await;
        }
        disturb::slow(&self.fleet, self.options.mirror_timeout()).await?;
        self.row(format!("{step}   secondary slow"), unharmed)
            .await?;
        disturb::absent(&mut self.fleet).await?;
        status::warns_of_the_secondary(&self.fleet).await?;
        self.row(format!("{step}   secondary absent"), unharmed)
            .await?;
        disturb::recovers(&self.fleet, self.options.mirror_timeout()).await?;
        check::verified(&self.fleet, step).await?;
        self.row(format!("{step}   secondary back"), Expected::default())
            .await
    }

    async fn fail_over(&mut self, step: Step) -> Result<(), String> {
        let clusters = self.fleet.clusters();
        let busy: Vec<_> = clusters
            .into_iter()
            .filter(|cluster| cluster.name.starts_with("busy"))
            .collect();
        let cluster = &busy[usize::from(step.number()) % busy.len()];
        disturb::fail_over(&mut self.fleet, cluster, &self.elected[cluster]).await?;
        self.fleet.load.pass(self.options.dwell()).await?;
        let expected = Expected {
            elections: 1,
            ..Expected::default()
        };
        self.row(format!("{step}   failover"), expected).await
    }

    /// The fleet has arrived, and has nothing to do but its work.
    async fn go_on(&mut self, name: &str, step: Step) -> Result<(), String> {
        self.fleet.load.pass(2 * self.options.dwell()).await?;
        status::lets_go_on(&self.fleet, step).await?;
        self.row(name.to_owned(), Expected::default()).await
    }

    /// Ends a row: all agree, and all that was sent is accounted for.
    async fn row(&mut self, name: String, expected: Expected) -> Result<(), String> {
        let now = settled(&self.fleet).await?;
        let account = self.fleet.account().await?;
        let elections = now
            .iter()
            .filter(|(cluster, election)| self.elected.get(cluster) != Some(election))
            .count();
        let mut problem = None;
        if let Some(bound) = expected.p99_below
            && account.p99 >= bound
        {
            problem = Some(format!("one push in 100 took {bound:?} or more"));
        }
        // A change and a change back between two checks count as two.
        if !self.elected.is_empty() {
            self.reelected += expected.elections;
        }
        let counted = check::reelections(&self.fleet).await?;
        if counted != self.reelected as f64 {
            let wanted = self.reelected;
            problem = Some(format!(
                "the metrics count {counted} reelections so far instead of {wanted}"
            ));
        }
        self.elected = now;
        self.report.push(Row {
            name,
            took: self.begun.elapsed(),
            elections,
            expected_elections: expected.elections,
            account,
            problem,
        });
        self.begun = Instant::now();
        Ok(())
    }
}

/// The name of a step's row.
fn title(step: Step) -> String {
    format!("{step} {}", step.title())
}
