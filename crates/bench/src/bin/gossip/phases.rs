//! The phases of a simulated cluster's life.

use std::time::Duration;

use anyhow::Result;
use bench::measure::Effort;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::CHANGES;
use crate::cluster::{Lacks, Running};
use crate::cost::{Cost, Meter, cpu_seconds, resident_bytes};
use crate::spread::Times;

/// What to simulate.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Cluster {
    pub(crate) nodes: usize,
    pub(crate) keys: usize,
    pub(crate) faulty: bool,
    pub(crate) seed: u64,
    /// Whether it speaks memberlist's protocol, or chitchat's.
    pub(crate) by_memberlist: bool,
}

/// What all keys of all nodes cost in memory, at rest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) nodes: usize,
    pub(crate) keys: usize,
    /// Of the process before there were keys, bytes.
    pub(crate) without_keys: u64,
    /// With them.
    pub(crate) with_keys: u64,
}

/// What happened in a cluster's life.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Life {
    pub(crate) cluster: Cluster,
    pub(crate) at_rest_without_keys: Cost,
    pub(crate) at_rest: Cost,
    pub(crate) changing: Cost,
    pub(crate) spread: Times,
    pub(crate) joiners: Vec<Joined>,
    pub(crate) memory: Memory,
    /// Of the process, while changes were made for long, bytes.
    pub(crate) memory_while_changing: u64,
    /// Copies in the cluster for each key, while changes were made for long.
    pub(crate) copies_while_changing: f64,
    /// The same some time after the last change.
    pub(crate) copies_at_rest: f64,
    /// How long after the last change that was, seconds.
    pub(crate) rest: f64,
    /// CPU seconds and virtual seconds of the whole simulation.
    pub(crate) took: (f64, f64),
}

/// A node that joined while changes were made.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Joined {
    /// Seconds from its start until it said that it was ready.
    pub(crate) ready: f64,
    /// Keys that it did not hold then.
    pub(crate) missing: usize,
    /// Keys of which it did not hold the newest value as of its start.
    pub(crate) stale: usize,
    /// Seconds from its start until it held all of that.
    pub(crate) complete: f64,
}

struct Durations {
    /// Measured phases.
    measure: Duration,
    /// From the first change until the measuring begins: a superseded copy is published for 15 s, and
    /// that it is gone for another 15 s; from then on nothing grows any more.
    warm_up: Duration,
    joiners: usize,
}

impl Durations {
    fn of(effort: Effort) -> Self {
        match effort {
            Effort::Quick => Self {
                measure: Duration::from_secs(10),
                warm_up: Duration::from_secs(5),
                joiners: 1,
            },
            Effort::Full => Self {
                measure: Duration::from_secs(15),
                warm_up: Duration::from_secs(32),
                joiners: 3,
            },
        }
    }
}

/// All phases.
pub(crate) async fn life(cluster: Cluster, effort: Effort) -> Result<Life> {
    let began = Instant::now();
    let durations = Durations::of(effort);
    let mut running = Running::start(cluster).await?;
    settle().await;
    progress(began, "started")?;
    let at_rest_without_keys = cost_of(&running, durations.measure).await?;
    progress(began, "rested without keys")?;
    let memory = fill(&running, cluster).await?;
    progress(began, "filled")?;
    let at_rest = cost_of(&running, durations.measure).await?;
    progress(began, "rested")?;

    let load = running.keep_changing(CHANGES);
    sleep(durations.warm_up).await;
    progress(began, "warm")?;
    running.spread.start(cluster.nodes);
    let changing = cost_of(&running, durations.measure).await?;
    running.spread.stop();
    let spread = &running.spread;
    let arrived = async || Ok(spread.on_their_way() == 0);
    // What does not arrive is reported as lost.
    let _ = running
        .eventually("all changes have arrived", arrived)
        .await;
    let spread = running.spread.times();
    let memory_while_changing = resident_bytes()?;
    let copies_while_changing = running.copies().await;
    progress(began, "changed")?;

    let mut joiners = Vec::new();
    for _ in 0..durations.joiners {
        joiners.push(join(&mut running).await?);
        progress(began, "joined")?;
        sleep(Duration::from_secs(2)).await;
    }
    load.abort();
    let stopped = Instant::now();
    running.all_hold_the_newest().await?;
    progress(began, "converged")?;
    sleep((stopped + Duration::from_secs(40)).saturating_duration_since(Instant::now())).await;
    Ok(Life {
        cluster,
        at_rest_without_keys,
        at_rest,
        changing,
        spread,
        joiners,
        memory,
        memory_while_changing,
        copies_while_changing,
        copies_at_rest: running.copies().await,
        rest: stopped.elapsed().as_secs_f64(),
        took: (cpu_seconds()?, began.elapsed().as_secs_f64()),
    })
}

/// Only the memory.
pub(crate) async fn memory(cluster: Cluster) -> Result<Memory> {
    let running = Running::start(cluster).await?;
    settle().await;
    fill(&running, cluster).await
}

async fn fill(running: &Running, cluster: Cluster) -> Result<Memory> {
    let without_keys = resident_bytes()?;
    running.fill().await?;
    settle().await;
    Ok(Memory {
        nodes: cluster.nodes,
        keys: cluster.keys,
        without_keys,
        with_keys: resident_bytes()?,
    })
}

async fn cost_of(running: &Running, duration: Duration) -> Result<Cost> {
    let meter = Meter::start(&running.network)?;
    sleep(duration).await;
    meter.stop(&running.network, running.nodes.len())
}

async fn join(running: &mut Running) -> Result<Joined> {
    let began = Instant::now();
    let newest = running.ledger.newest();
    let joiner = running.add().await?;
    joiner.memberlist.ready().await;
    let ready = began.elapsed().as_secs_f64();
    let mut lacks = joiner.lacks(&newest).await?;
    let Lacks { missing, stale } = lacks;
    while lacks.any() && began.elapsed() < Duration::from_secs(60) {
        sleep(Duration::from_millis(10)).await;
        lacks = joiner.lacks(&newest).await?;
    }
    Ok(Joined {
        ready,
        missing,
        stale,
        complete: began.elapsed().as_secs_f64(),
    })
}

/// Until no member has work left from a newcomer or a change.
async fn settle() {
    sleep(Duration::from_secs(5)).await;
}

fn progress(began: Instant, what: &str) -> Result<()> {
    let virtual_seconds = began.elapsed().as_secs_f64();
    eprintln!(
        "  {virtual_seconds:.0} s, {:.0} s of CPU: {what}",
        cpu_seconds()?
    );
    Ok(())
}
