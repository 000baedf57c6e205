//! How much is sent during a migration.

use std::time::Duration;

use crate::{Cluster, Load, REPLICAS};

/// A sender tries another distributor when one is silent for this long.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);
/// Ticks of a cluster that falls silent: enough to be elected and to have been refreshed.
pub(crate) const SHORT_LIVED: u64 = 10;

/// Tenants, each with clusters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) tenants: usize,
    /// Clusters of each tenant that send all the time.
    pub(crate) busy: usize,
    /// Clusters of each tenant that send in the beginning and never again: only the stores know
    /// who is elected.
    pub(crate) idle: usize,
    /// Time between two samples of a replica.
    pub(crate) interval: Duration,
}

impl Scale {
    /// All replicas of all clusters begin to send, to the first `distributors` receivers in turn.
    pub(crate) fn begin(self, push_urls: Vec<String>, distributors: usize) -> Load {
        let mut load = Load::new(self.interval, TRY_TIMEOUT, push_urls);
        let all: Vec<usize> = (0..distributors).collect();
        for (cluster, is_busy) in self.clusters() {
            let ticks = (!is_busy).then_some(SHORT_LIVED);
            for replica in 0..REPLICAS.len() {
                load.begin(&cluster, replica, &all, ticks);
            }
        }
        load
    }

    /// All clusters, and whether each is busy.
    fn clusters(self) -> impl Iterator<Item = (Cluster, bool)> {
        let of_tenant = move |tenant: usize| {
            (0..self.busy + self.idle).map(move |number| {
                let name = match number < self.busy {
                    true => format!("busy{number}"),
                    false => format!("idle{}", number - self.busy),
                };
                let cluster = Cluster::new(&format!("t{tenant}"), &name);
                (cluster, number < self.busy)
            })
        };
        (0..self.tenants).flat_map(of_tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_sends_all_the_time_or_only_in_the_beginning() {
        let scale = Scale {
            tenants: 2,
            busy: 2,
            idle: 1,
            interval: Duration::from_millis(100),
        };
        let clusters: Vec<_> = scale
            .clusters()
            .map(|(cluster, is_busy)| (cluster.key(), is_busy))
            .collect();
        let of = |key: &str, is_busy| (format!("ha-tracker/{key}"), is_busy);
        assert_eq!(
            clusters,
            [
                of("t0/busy0", true),
                of("t0/busy1", true),
                of("t0/idle0", false),
                of("t1/busy0", true),
                of("t1/busy1", true),
                of("t1/idle0", false),
            ]
        );
    }
}
