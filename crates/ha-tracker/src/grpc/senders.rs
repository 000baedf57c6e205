//! What is known of the senders, and what became of a handover, as messages.

use tonic::Status;

use crate::generated::{Cluster, Election, Replica};
use crate::handover::HandOverError;
use crate::status::{ClusterStatus, ReplicaStatus};

pub(super) fn cluster(status: ClusterStatus) -> Cluster {
    let replicas = std::iter::once(status.elected).chain(status.others);
    Cluster {
        failover_in_ms: status.failover_in_ms,
        allowed_silence_ms: status.allowed_silence_ms,
        replicas: replicas.map(replica).collect(),
        replicas_seen: u32::try_from(status.replicas_seen).unwrap_or(u32::MAX),
        redundancy_lost: status.has_lost_redundancy,
        election: Some(Election {
            tenant: status.election.tenant,
            cluster: status.election.cluster,
            desc: Some(status.election.desc),
        }),
    }
}

fn replica(status: ReplicaStatus) -> Replica {
    Replica {
        replica: status.replica,
        seen_ms: status.seen_ms,
        newest_sample_ms: status.sample_ms,
        send_interval_ms: status.cadence_ms,
        clock_ahead_ms: status.ahead_ms,
        refused_ms: status.refused_ms,
    }
}

pub(super) fn refused(error: &HandOverError) -> Status {
    let message = error.to_string();
    match error {
        HandOverError::UnknownCluster { .. } => Status::not_found(message),
        HandOverError::AlreadyElected { .. } => Status::already_exists(message),
        HandOverError::NotSeen { .. } | HandOverError::Superseded { .. } => {
            Status::failed_precondition(message)
        }
        HandOverError::Store(_) => Status::unavailable(message),
    }
}
