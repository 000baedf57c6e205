//! What failovers cost: the sample time without samples.

use super::HaTracker;

impl HaTracker {
    /// To be called when samples of a replica up to this time, Unix ms, are stored. Returns whether
    /// they are the first ones that this process had stored of a replica that succeeded another: then
    /// [`HaTracker::measure_failover`] is to be called. No I/O, no lock, no allocation.
    pub fn stored(&self, tenant: &str, cluster: &str, replica: &str, newest_ms: i64) -> bool {
        let is_first = self
            .cache
            .read(tenant, cluster, |known| known.stored(replica, newest_ms));
        is_first.unwrap_or(false)
    }

    /// Measures what a failover cost: the time without samples between the newest one that was stored
    /// of the predecessor and `oldest_ms`, the first one of the replica that is elected now. Without a
    /// `boundary_ms`, at which the predecessor ended, that is what this process had stored of it; if
    /// nothing, the gap is not known here.
    pub fn measure_failover(
        &self,
        tenant: &str,
        cluster: &str,
        oldest_ms: i64,
        boundary_ms: Option<i64>,
    ) {
        let measured = self.cache.read(tenant, cluster, |known| {
            let elected = known.elected();
            let gap_ms = elected.stretch.began(oldest_ms, boundary_ms)?;
            Some((elected.replica.clone(), gap_ms))
        });
        let Some((replica, gap_ms)) = measured.flatten() else {
            return;
        };
        let mode = match boundary_ms {
            Some(_) => "lossless",
            None => "classic",
        };
        self.gaps.observe(mode, gap_ms);
        tracing::info!(
            tenant,
            cluster,
            %replica,
            mode,
            gap_ms,
            "stored the first samples after a failover; gap_ms is the sample time without samples"
        );
    }
}
