//! A stored election, as JSON.

use ha_tracker::ReplicaDesc;

use super::times::rfc3339;

pub(super) fn desc_json(desc: &ReplicaDesc) -> admin_api::ReplicaDesc {
    let time = |ms: i64| (ms != 0).then(|| rfc3339(ms));
    admin_api::ReplicaDesc {
        deleted_at: desc.deleted_at,
        deleted_at_time: time(desc.deleted_at),
        elected_at: desc.elected_at,
        elected_at_time: time(desc.elected_at),
        elected_changes: desc.elected_changes,
        received_at: desc.received_at,
        received_at_time: time(desc.received_at),
        replica: desc.replica.clone(),
    }
}
