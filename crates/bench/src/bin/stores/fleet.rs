//! The clusters that are pushed, and the requests for them.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use e2e::{Distributor, Sender};
use remote_write::{Version, compress_into};
use remote_write_testkit::generate::{Shape, request};
use remote_write_testkit::headers;

/// Tenants with clusters of two replicas each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fleet {
    pub(crate) tenants: usize,
    /// Of each tenant.
    pub(crate) clusters: usize,
    /// Clusters in one request, with one series each.
    pub(crate) per_request: usize,
}

/// A request, ready to be sent again and again: its samples have the time of its making, which is
/// not checked here.
pub(crate) struct Push {
    tenant: String,
    body: Vec<u8>,
}

impl Fleet {
    /// Clusters of all tenants.
    pub(crate) fn all_clusters(&self) -> usize {
        self.tenants * self.clusters
    }

    /// Tenant and cluster of these numbers.
    pub(crate) fn names(&self, tenant: usize, cluster: usize) -> (String, String) {
        let tenant = format!("tenant-{tenant:02}");
        (tenant, format!("production-eu-west-{cluster:04}"))
    }

    /// Every cluster once, with the replica of that number.
    pub(crate) fn pushes(&self, replica: impl Fn(usize) -> usize) -> Result<Vec<Push>> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let timestamp_ms = i64::try_from(since_epoch.as_millis())?;
        let clusters: Vec<usize> = (0..self.clusters).collect();
        let mut pushes = Vec::new();
        for tenant in 0..self.tenants {
            for numbers in clusters.chunks(self.per_request) {
                let names: Vec<(String, String)> = numbers
                    .iter()
                    .map(|&number| {
                        let (_, cluster) = self.names(tenant, number);
                        (cluster, format!("prometheus-{}", replica(number)))
                    })
                    .collect();
                let pairs: Vec<(&str, &str)> = names
                    .iter()
                    .map(|(cluster, replica)| (cluster.as_str(), replica.as_str()))
                    .collect();
                let shape = Shape {
                    series: pairs.len(),
                    pairs: &pairs,
                    timestamp_ms,
                    spread_ms: 15,
                };
                let mut body = Vec::new();
                compress_into(&request(Version::V1, shape), &mut body);
                pushes.push(Push {
                    tenant: self.names(tenant, 0).0,
                    body,
                });
            }
        }
        Ok(pushes)
    }
}

/// A sender for all tenants, over the same connections.
pub(crate) struct Pusher(Sender);

impl Pusher {
    pub(crate) fn new(distributor: &Distributor) -> Self {
        Self(Sender::new(&distributor.push_url()))
    }

    /// Sends a request and waits for its answer: why it failed, if it did.
    pub(crate) async fn push(&self, push: &Push) -> Result<(), String> {
        let sender = self.0.clone().tenant(&push.tenant);
        let answer = sender
            .try_send_bytes(&headers(Version::V1), push.body.clone())
            .await?;
        match answer.status {
            // 202: some of it was from replicas that are not elected.
            200 | 202 | 204 => Ok(()),
            status => Err(format!("{status}: {}", answer.body)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cluster_is_in_one_request() {
        let fleet = Fleet {
            tenants: 2,
            clusters: 30,
            per_request: 20,
        };
        let pushes = fleet.pushes(|number| number % 2).unwrap();
        let tenants: Vec<_> = pushes.iter().map(|push| push.tenant.as_str()).collect();
        let [a, b] = ["tenant-00", "tenant-01"];
        assert_eq!(tenants, [a, a, b, b]);
        assert_eq!(fleet.all_clusters(), 60);
    }
}
