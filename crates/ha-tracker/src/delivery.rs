//! What became of the requests of a replica that was elected: whether it is silent, or waits because
//! it was refused.

use crate::cluster::Cluster;

/// The end of a request of an elected replica, as the sender was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Stored, or refused for good: the sender goes on with its next request.
    Settled,
    /// Refused for now, by us or by the downstream: the sender will repeat it, and may wait first.
    Refused,
    /// Not answered: the sender hung up.
    Abandoned,
}

/// A request of this replica is being forwarded, if it is elected.
pub(crate) fn begin(cluster: &Cluster, replica: &str, now_ms: i64) {
    let elected = cluster.elected();
    if elected.replica == replica {
        elected.sightings.begin_delivery(now_ms);
    }
}

/// A request of this replica ended so.
pub(crate) fn end(cluster: &Cluster, replica: &str, delivery: Delivery, now_ms: i64) {
    let elected = cluster.elected();
    if elected.replica == replica {
        elected.sightings.end_delivery(delivery, now_ms);
    } else if delivery == Delivery::Refused {
        cluster.standbys.refused(replica, now_ms);
    }
}
