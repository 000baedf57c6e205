//! The border behind which a gossip protocol lives.
//!
//! A member consists of an [`Engine`], which knows a protocol, and of what stands on it: the merged
//! view ([`crate::view`]), which knows what entries mean, and the tasks of [`crate::member`], which
//! decide what is done when. An engine never sees a value, only an entry's key and text; nothing
//! above the border sees a packet.
//!
//! | | above the border | an engine |
//! |---|---|---|
//! | sockets, packets, keys | nothing | owns them. It may stand on [`crate::admission`], [`crate::seal`] and [`crate::link`], or bring its own where its packets look otherwise |
//! | who sends what when | says what is new ([`Engine::publish`]) and which exchange is urgent ([`Engine::exchange`]) | rounds, repetitions, exchanges of whole states |
//! | who is there, who is dead | reacts to changes | decides, by heartbeats or by probes ([`Engine::poll_members`]) |
//! | merging | all of it, in the view | passes on what arrives ([`EntrySink::receive`]), whose answer says whether that was news to be repeated |
//! | deletions | a tombstone is an entry like others; when it is forgotten is decided here ([`Engine::forget`]) | carries them; one whose members write a deletion in another way translates, see [`EntryText`] |
//! | catching up | when, and what waits for it | what the others hold, and how to get it ([`Engine::catch_up`]) |
//! | tasks | owns them, and those of the engine | is given a [`kv_core::Tasks`] when it starts |
//!
//! A *copy* is an entry as one member publishes it. In the engine that there is, a member publishes
//! the entries that it wrote last; a copy goes with its member, so others must take it over, and a
//! superseded copy must be withdrawn. An engine that gives every entry to every member, who repeat
//! and keep it (HashiCorp's memberlist: broadcasts of single entries, exchanges of whole states), has
//! fewer duties: [`Engine::visit`] shows an entry as a copy of this member while it waits to be
//! broadcast, and from then on as a copy of each living member; so no entry is ever an orphan, a
//! member that leaves waits until its broadcasts are out, and [`Engine::withdraw`] does nothing.

pub(crate) mod changing;
pub(crate) mod chitchat;
mod history;
pub(crate) mod memberlist;
mod members;

use std::net::SocketAddr;

use async_trait::async_trait;

pub(crate) use self::chitchat as gossip;
pub(crate) use self::members::{MemberChange, MemberId, MemberRecord, Members};
use crate::link::foreign::{Answered, ForeignProtocol, Foreigner};
use crate::status::{History, MemberState, OtherKey};
use crate::view::entry::EntryText;

#[cfg(feature = "testing")]
pub use self::chitchat::fuzzing;

/// A gossip protocol, as one member takes part in it. Dropping it stops it at once.
#[async_trait]
pub(crate) trait Engine: Send + Sync + 'static {
    /// Where other members reach this one.
    fn advertised(&self) -> SocketAddr;

    /// What this member announced last; [`MemberState::Joining`] at first.
    fn own_state(&self) -> MemberState;

    /// Tells the others what this member does. One that is leaving, or has left, does not come back:
    /// an earlier state is not announced any more.
    async fn announce(&self, state: MemberState);

    /// Waits until every other living member knows what this one announced last.
    async fn announced(&self);

    /// Sees who is there now, and decides who is dead; what has changed since the last call. The
    /// member calls this all the time, so it is also where an engine notices that the process did
    /// not run, which says nothing of the others.
    async fn poll_members(&self) -> Vec<MemberChange>;

    /// How far this member doubts itself, 0 to 8, if the protocol tells.
    fn health_score(&self) -> Option<u32> {
        None
    }

    /// All members, as of the last poll.
    fn members(&self) -> Members;

    /// How many copies each member publishes.
    async fn copy_counts(&self) -> Vec<(MemberId, usize)>;

    /// Publishes the entries that `take` returns, which is called once, when nothing else can change
    /// what is published.
    async fn publish(&self, take: &mut (dyn FnMut() -> Vec<EntryText> + Send));

    /// Stops publishing this member's copies of the keys that `choose` returns, because other members
    /// publish the same or a newer entry. `choose` is called once, and nothing else can change what
    /// is published from before that until they are withdrawn.
    async fn withdraw(
        &self,
        choose: &mut (dyn for<'a> FnMut(&'a dyn Copies) -> Vec<String> + Send),
    );

    /// Forgets the keys that `choose` returns, published by this member or not: their tombstones have
    /// expired. As for [`Engine::withdraw`].
    async fn forget(&self, choose: &mut (dyn FnMut() -> Vec<String> + Send));

    /// Shows all copies, with nothing changing meanwhile; `look` is called once.
    async fn visit(&self, look: &mut (dyn for<'a> FnMut(&'a dyn Copies) + Send));

    /// Begins an exchange with a member, ahead of the usual rounds.
    fn exchange(&self, with: SocketAddr);

    /// These addresses are said to be those of members (`join_members` resolve to them), and may be
    /// sent to although nothing was heard from them.
    fn expect(&self, addresses: &[SocketAddr]);

    /// Begins an exchange with whatever listens at an address, in a way that tells if nothing does.
    fn contact(&self, address: SocketAddr);

    /// What is known of an address that was contacted.
    fn contact_info(&self, address: SocketAddr) -> ContactInfo;

    /// Which other protocol is spoken at an address that was contacted and closed the connection
    /// without an answer: asks there for a few seconds at most. `label` is the cluster's.
    async fn identify(&self, address: SocketAddr, label: &str) -> Option<ForeignProtocol> {
        let _ = (address, label);
        None
    }

    /// Which kind of gossip is spoken at an address: asks there for a few seconds at most, in a way
    /// that no kind objects to. `None` if that remains unknown.
    async fn ask(&self, address: SocketAddr, label: &str) -> Option<Answered> {
        let _ = (address, label);
        None
    }

    /// What spoke another protocol to this member last.
    fn last_foreigner(&self) -> Option<Foreigner> {
        None
    }

    /// Whether any other member was heard since the start.
    fn has_heard_any(&self) -> bool;

    /// Returns when this member holds what the others hold, as far as they can tell. `progress` is
    /// given what is waited for, for people.
    async fn catch_up(&self, why: CatchUp<'_>, progress: &(dyn Fn(String) + Send + Sync));

    /// This process did not run for a while: what others said before is old, and a catching up that
    /// goes on begins again.
    fn note_stall(&self);

    /// Keys of other components in the same ring, which this member does not keep.
    fn other_keys(&self) -> Vec<OtherKey> {
        Vec::new()
    }

    /// The last messages; `None` if none are kept.
    fn history(&self) -> Option<History>;
}

/// What an engine tells of entries: the member, whatever the type of its values. Called under the
/// engine's lock (see [`crate::view::View`]), so it must not call the engine.
pub(crate) trait EntrySink: Send + Sync + 'static {
    /// Another member has this entry. If that was news, what the key holds now: an engine whose
    /// members repeat what they hear does so then.
    fn receive(&self, key: &str, text: &str, from: Sender) -> Option<EntryText>;

    /// The engine has begun again, and publishes nothing.
    fn publish_again(&self);

    /// Another engine has begun, to whose members nothing was published by any.
    fn publish_everything(&self);
}

/// How the member merges that an entry was received from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    /// As this one does.
    Ours,
    /// By a rule of its own: it may keep what loses here, and is outbid then (see
    /// [`kv_core::Mergeable::outbid`]).
    Foreign,
}

/// All copies that members publish, at one moment.
pub(crate) trait Copies {
    /// This member.
    fn own_id(&self) -> &MemberId;

    /// Shows every copy (its member, key and text) of the members chosen by `of`.
    fn for_each(&self, of: &dyn Fn(&MemberId) -> bool, show: &mut dyn FnMut(&MemberId, &str, &str));

    /// Whether any other member publishes a copy of this key (its member, and its text) that is
    /// wanted.
    fn any_other(&self, key: &str, is_wanted: &dyn Fn(&MemberId, &str) -> bool) -> bool;
}

/// What is known of an address that was contacted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ContactInfo {
    /// A member there has no room for this one, or the other way round.
    pub(crate) is_full: bool,
    /// Why the last connection to it failed.
    pub(crate) last_error: Option<String>,
    /// What listens there closed the last connection without an answer.
    pub(crate) is_closed: bool,
}

/// Why a member catches up.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CatchUp<'a> {
    /// It has never been ready: it takes as long as it takes.
    Joining {
        /// Addresses that should be heard before it believes that no member is active.
        expected: &'a [SocketAddr],
    },
    /// It was ready, and did not run for a while. What others said before does not count; members
    /// that have gone meanwhile are not waited for, and after some seconds none is.
    AfterStall,
}
