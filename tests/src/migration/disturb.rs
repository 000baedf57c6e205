//! What goes wrong on purpose.

use std::time::Duration;

use super::check::{self, Election, agreement, settled};
use super::fleet::Fleet;
use crate::{Cluster, LONG, REPLICAS};
use peers::comes_true;

/// Ticks that pass while a distributor is down.
const DOWN: u64 = 3;

/// One distributor is killed, and comes back as it was.
pub(crate) async fn kill_one(fleet: &mut Fleet, number: usize) -> Result<(), String> {
    fleet.kill(number);
    fleet.load.pass(DOWN).await?;
    fleet.revive(number).await?;
    settled(fleet).await.map(drop)
}

/// The old store answers too late, until that is counted.
pub(crate) async fn slow(fleet: &Fleet, mirror_timeout: Duration) -> Result<(), String> {
    fleet.old.network.delay(mirror_timeout.mul_f64(1.5));
    check::fails_to_mirror(fleet).await
}

/// The old store cannot be reached, until that is counted; a distributor that is killed meanwhile
/// comes back without it.
pub(crate) async fn absent(fleet: &mut Fleet) -> Result<(), String> {
    fleet.old.network.delay(Duration::ZERO);
    vanish(fleet);
    check::fails_to_mirror(fleet).await?;
    kill_one(fleet, 2).await
}

/// The old store cannot be reached, and is not used.
pub(crate) async fn absent_and_not_missed(fleet: &Fleet, ticks: u64) -> Result<(), String> {
    let (_, before) = check::mirrored(fleet).await?;
    vanish(fleet);
    fleet.load.pass(ticks).await?;
    let (_, after) = check::mirrored(fleet).await?;
    over(fleet);
    match after == before {
        true => Ok(()),
        false => Err(format!("{} writes to it failed", after - before)),
    }
}

fn vanish(fleet: &Fleet) {
    fleet.old.network.refuse(true);
    fleet.old.network.cut();
}

/// The old store can be reached again.
pub(crate) fn over(fleet: &Fleet) {
    fleet.old.network.delay(Duration::ZERO);
    fleet.old.network.refuse(false);
}

/// [`over`], and nothing fails any more: calls that began before have ended, clients have connected
/// again.
pub(crate) async fn recovers(fleet: &Fleet, mirror_timeout: Duration) -> Result<(), String> {
    over(fleet);
    let ticks = fleet.load.ticks_in(mirror_timeout * 2);
    comes_true("mirroring to recover", LONG, || async {
        let (_, before) = check::mirrored(fleet).await?;
        fleet.load.pass(ticks).await?;
        check::mirrors(fleet).await?;
        let (_, after) = check::mirrored(fleet).await?;
        match after == before {
            true => Ok(()),
            false => Err(format!("{} writes failed meanwhile", after - before)),
        }
    })
    .await
}

/// The elected replica of a cluster falls silent until the other one is elected, and comes back.
pub(crate) async fn fail_over(
    fleet: &mut Fleet,
    cluster: &Cluster,
    elected: &Election,
) -> Result<(), String> {
    let before = REPLICAS.iter().position(|name| *name == elected.replica);
    let before = before.ok_or_else(|| format!("{elected:?} is no replica of ours"))?;
    let from = fleet.load.now();
    fleet.load.silence(cluster, before, true);
    comes_true("the other replica to be elected", LONG, || async {
        let now = agreement(fleet).await?;
        match now[cluster].replica == REPLICAS[1 - before] {
            true => Ok(()),
            false => Err(format!("{:?}", now[cluster])),
        }
    })
    .await?;
    fleet
        .ledger
        .excuse(cluster, from.saturating_sub(1)..fleet.load.now());
    fleet.load.silence(cluster, before, false);
    Ok(())
}
