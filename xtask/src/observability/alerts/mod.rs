//! The alerts, by part, and the healthy fleet in which none of them fires.

mod elections;
mod failover;
mod fleet;
mod gossip;
mod healthy;
mod limits;
mod migration;
mod push;
mod store;

use super::rules::Group;

pub(super) use healthy::HEALTHY;

pub(super) fn all() -> Vec<Group> {
    vec![
        fleet::GROUP,
        elections::GROUP,
        failover::GROUP,
        push::GROUP,
        limits::GROUP,
        store::GROUP,
        gossip::GROUP,
        migration::GROUP,
    ]
}
