//! Members, whatever the protocol by which they are known.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::status::MemberState;

/// Identifies one run of one member. All members order them alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MemberId {
    pub(crate) name: Arc<str>,
    /// Grows from one run of a member to the next.
    pub(crate) run: u64,
    /// Where it says that it can be reached.
    pub(crate) address: SocketAddr,
}

/// What an engine knows of a member.
#[derive(Debug, Clone)]
pub(crate) struct MemberRecord {
    pub(crate) id: MemberId,
    pub(crate) state: MemberState,
    /// Whether it speaks: it is neither dead nor gone, and not only heard of.
    pub(crate) is_alive: bool,
    /// Time since it was last known to be alive; zero for this member itself.
    pub(crate) heartbeat_age: Duration,
    /// Whether it would change to another protocol: it speaks its own only because no member of
    /// another answered.
    pub(crate) may_change: bool,
    pub(crate) is_self: bool,
}

/// A member that changed its state, or was heard for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberChange {
    pub(crate) id: MemberId,
    /// Whether it ever spoke for itself. Otherwise others told of it, or it is made up.
    pub(crate) heard: bool,
    /// `None`: not known before.
    pub(crate) from: Option<MemberState>,
    /// `None`: forgotten.
    pub(crate) to: Option<MemberState>,
}

/// All members that are known, those that are gone until they are forgotten.
#[derive(Debug, Clone, Default)]
pub(crate) struct Members(pub(crate) Vec<MemberRecord>);

impl Members {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &MemberRecord> {
        self.0.iter()
    }

    /// The others that speak.
    pub(crate) fn others(&self) -> impl Iterator<Item = &MemberRecord> {
        self.iter()
            .filter(|member| member.is_alive && !member.is_self)
    }

    /// Whether no other one speaks.
    pub(crate) fn is_alone(&self) -> bool {
        self.others().next().is_none()
    }

    /// Addresses of the others that speak.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.others().map(|member| member.id.address)
    }

    /// Members that speak, this one included.
    pub(crate) fn alive(&self) -> usize {
        self.iter().filter(|member| member.is_alive).count()
    }

    /// Those whose copies can be relied on to stay.
    pub(crate) fn holding(&self) -> HashSet<MemberId> {
        self.with_state(MemberState::holds).cloned().collect()
    }

    /// Those that take part.
    pub(crate) fn active(&self) -> Vec<MemberId> {
        self.with_state(|state| state == MemberState::Active)
            .cloned()
            .collect()
    }

    fn with_state(&self, is_it: impl Fn(MemberState) -> bool) -> impl Iterator<Item = &MemberId> {
        self.iter()
            .filter(move |member| is_it(member.state))
            .map(|member| &member.id)
    }

    /// Whether a member that is gone, and may come back with what it held, is still remembered.
    pub(crate) fn remembers_gone(&self) -> bool {
        self.iter().any(|member| !member.is_alive)
    }
}
