//! A member of Mimir's code in the same gossip ring, from the first step to the last.
//!
//! It has an HA pair of its own, which sends to it alone: it elects for that pair in the ring all the
//! time, whatever the distributors' store is.

use std::collections::BTreeMap;

use admin_api::{Comparison, Reason};

use super::check::Elections;
use super::fleet::{Fleet, SIZE};
use super::plan::Surroundings;
use crate::{Cluster, MemberState, MemberlistGo, MemberlistGoOptions, MembersPage, REPLICAS};

const NAME: &str = "go";

/// The tenant of the pair.
const TENANT: &str = "beside";

/// Its number as a receiver.
const RECEIVER: usize = SIZE;

/// The member.
pub(crate) struct Beside {
    pub(crate) go: MemberlistGo,
}

impl Beside {
    pub(crate) async fn start(surroundings: &Surroundings) -> Self {
        let limit = |name: &str| surroundings.limits[name].as_str().unwrap_or_default();
        let options = MemberlistGoOptions {
            node: NAME.to_owned(),
            join: Vec::new(),
            flags: vec![
                format!("-push.downstream={}", surroundings.downstream),
                format!("-ha.update-timeout={}", limit("ha_tracker_update_timeout")),
                format!(
                    "-ha.update-timeout-jitter-max={}",
                    limit("ha_tracker_update_timeout_jitter_max")
                ),
                format!(
                    "-ha.failover-timeout={}",
                    limit("ha_tracker_failover_timeout")
                ),
            ],
        };
        Self {
            go: MemberlistGo::start(&options).await,
        }
    }

    /// The pair begins to send.
    pub(crate) fn begin(load: &mut crate::Load) {
        let cluster = Cluster::new(TENANT, "pair");
        for replica in 0..REPLICAS.len() {
            load.begin(&cluster, replica, &[RECEIVER], None);
        }
    }

    /// It and the distributors that gossip see each other.
    pub(crate) async fn is_seen(&self, pages: &[MembersPage]) -> Result<(), String> {
        for page in pages {
            let row = page.members.get(NAME);
            if row.is_none_or(|row| row.state != MemberState::Active) {
                return Err(format!("{} shows {row:?} beside it", page.own_name));
            }
        }
        let seen = self.go.member_names().await?;
        let mut names = pages.iter().map(|page| &page.own_name);
        match names.find(|name| !seen.contains(name)) {
            None => Ok(()),
            Some(missing) => Err(format!("{NAME} lacks {missing}: {seen:?}")),
        }
    }

    /// It names the same replicas as the distributors that read from the ring: of their clusters, if all
    /// of them do, and of its own.
    pub(crate) async fn agrees(
        &self,
        fleet: &Fleet,
        elected: &Elections,
        foreign: &[Elections],
    ) -> Result<(), String> {
        let keys = self.go.keys().await?;
        let replica = |cluster: &Cluster| keys.get(&cluster.key()).map(|entry| &entry.replica);
        let reads = |number: &usize| fleet.steps()[*number].reads_gossip();
        let readers: Vec<usize> = (0..SIZE).filter(reads).collect();
        if readers.len() == SIZE {
            for (cluster, election) in elected {
                if replica(cluster) != Some(&election.replica) {
                    let found = replica(cluster);
                    return Err(format!(
                        "{NAME} has {found:?} for {cluster:?}, {election:?}"
                    ));
                }
            }
        }
        let own = Cluster::new(TENANT, "pair");
        for number in readers {
            let found = foreign[number].get(&own).map(|election| &election.replica);
            if found.is_none() || found != replica(&own) {
                let wanted = replica(&own);
                return Err(format!(
                    "d{number} has {found:?} for {own:?}, not {wanted:?}"
                ));
            }
        }
        Ok(())
    }
}

/// Splits what a distributor tracks: the fleet's clusters, and that of the member beside it.
pub(crate) fn apart(all: Elections) -> (Elections, Elections) {
    let (foreign, own): (BTreeMap<_, _>, BTreeMap<_, _>) =
        all.into_iter().partition(|(cluster, _)| is_beside(cluster));
    (own, foreign)
}

/// Whether the cluster is that of the member.
pub(crate) fn is_beside(cluster: &Cluster) -> bool {
    cluster.tenant == TENANT
}

/// Whether the key is that of the member's cluster.
pub(crate) fn is_key_beside(key: &str) -> bool {
    key == Cluster::new(TENANT, "pair").key()
}

/// Of the keys that a secondary lacks, those that the member has written: the distributors do not mirror
/// them, but copy them a moment later, when the next one has been written.
pub(crate) fn copied_later(found: &Comparison) -> u64 {
    let is_behind = |reason| matches!(reason, Reason::Missing | Reason::Older);
    let is_own = |key: &str| is_key_beside(&format!("ha-tracker/{key}"));
    let differences = found.differences.iter();
    let copied = differences.filter(|found| is_behind(found.reason) && is_own(&found.key));
    copied.count() as u64
}
