//! Members as the rest of this crate knows them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use memberlist_protocol::membership::{Node, Record};
use memberlist_protocol::message::State;

use crate::engine::{MemberChange, MemberId, MemberRecord, Members};
use crate::status::MemberState;

/// The members as of the last poll.
#[derive(Default)]
pub(super) struct Roster {
    members: Members,
    states: BTreeMap<MemberId, MemberState>,
}

impl Roster {
    /// Sees who is there now; what has changed since the last time.
    pub(super) fn poll(
        &mut self,
        node: &Node,
        own: MemberState,
        now: Duration,
    ) -> Vec<MemberChange> {
        let name = &node.config().name;
        let records = node.records();
        let records = records
            .map(|record| member(record, name, own, now))
            .collect();
        self.members = Members(records);
        let states: BTreeMap<MemberId, MemberState> = self
            .members
            .iter()
            .map(|record| (record.id.clone(), record.state))
            .collect();
        let known = states.keys().chain(self.states.keys());
        let known: BTreeSet<&MemberId> = known.collect();
        let change = |id: &MemberId| {
            let (from, to) = (self.states.get(id).copied(), states.get(id).copied());
            (from != to).then(|| MemberChange {
                id: id.clone(),
                heard: true,
                from,
                to,
            })
        };
        let changes = known.into_iter().filter_map(change).collect();
        self.states = states;
        changes
    }

    pub(super) fn members(&self) -> &Members {
        &self.members
    }

    /// This member.
    pub(super) fn own(&self) -> Option<&MemberId> {
        let own = self.members.iter().find(|record| record.is_self);
        own.map(|record| &record.id)
    }

    /// The others that live.
    pub(super) fn others(&self) -> BTreeSet<MemberId> {
        let others = self.members.others();
        others.map(|record| record.id.clone()).collect()
    }
}

fn member(record: &Record, own_name: &str, own: MemberState, now: Duration) -> MemberRecord {
    let is_self = record.alive.node == own_name;
    let state = match record.state {
        _ if is_self => own,
        // A suspected member has the time of its suspicion to say that it is alive.
        State::Alive | State::Suspect => MemberState::Active,
        State::Dead => MemberState::Dead,
        State::Left => MemberState::Left,
    };
    MemberRecord {
        id: MemberId {
            name: record.alive.node.as_str().into(),
            // Members count their runs with an incarnation that others make grow as well.
            run: 0,
            address: record.alive.addr.socket(record.alive.port),
        },
        state,
        is_alive: record.is_here() || is_self,
        heartbeat_age: if is_self || record.state == State::Alive {
            Duration::ZERO
        } else {
            now.saturating_sub(record.since)
        },
        may_change: false,
        is_self,
    }
}
