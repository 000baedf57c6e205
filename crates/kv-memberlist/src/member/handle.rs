//! A running member: the handle that keeps it running, and its inspector for admin pages.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use kv_core::{TaskFailed, Tasks, Value};
use tokio::sync::watch;
use watched_files::Reload;

use super::choice::Choice;
use super::leave::{LeaveTimeouts, leave};
use crate::engine::{Engine, MemberId, MemberRecord};
use crate::link::foreign::Foreigner;
use crate::phase::{Phase, Phases};
use crate::status::{EntryInfo, History, Member, MemberState, OtherKey, ProtocolInUse};
use crate::view::{RawValue, View};

/// The name of a member's task in errors.
pub(super) const TASK: &str = "a gossip task";

/// A running member. Dropping it stops it at once, as if it had crashed; [`Memberlist::leave`] hands
/// over first.
pub struct Memberlist {
    member: Arc<dyn Inspect>,
    tasks: Tasks,
    phase: watch::Receiver<Phase>,
    pub(super) tls_files: Option<Arc<dyn Reload>>,
}

/// Shows a member to admin pages, and does not keep it alive. Clones show the same member.
#[derive(Clone)]
pub struct Inspector {
    member: Weak<dyn Inspect>,
    address: SocketAddr,
    choice: Choice,
    phase: watch::Receiver<Phase>,
}

/// A member, independent of the type of its values.
#[async_trait::async_trait]
trait Inspect: Send + Sync {
    fn address(&self) -> SocketAddr;
    fn choice(&self) -> &Choice;
    async fn members(&self) -> Vec<Member>;
    fn other_members(&self) -> usize;
    fn active_members(&self) -> usize;
    fn entries(&self) -> Vec<EntryInfo>;
    fn raw(&self, key: &str) -> Option<RawValue>;
    fn history(&self) -> Option<History>;
    fn other_keys(&self) -> Vec<OtherKey>;
    fn last_foreigner(&self) -> Option<Foreigner>;
    async fn leave(&self);
    fn close(&self);
}

/// What can be shown of a member, and how it leaves.
pub(super) struct Shown<V> {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) view: Arc<View<V>>,
    pub(super) phases: Phases,
    pub(super) choice: Choice,
    pub(super) leave_timeouts: LeaveTimeouts,
}

impl Memberlist {
    pub(super) fn new<V: Value>(shown: Shown<V>, tasks: Tasks) -> Self {
        Self {
            phase: shown.phases.subscribe(),
            member: Arc::new(shown),
            tasks,
            tls_files: None,
        }
    }

    /// The files of TLS between members; `None` if it is off.
    pub fn tls_files(&self) -> Option<Arc<dyn Reload>> {
        self.tls_files.clone()
    }

    /// Waits until this member has all entries of its cluster, or assumes that it is alone. Waits
    /// forever if it has left. [`Send`], and cancel safe.
    pub fn ready(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut phase = self.phase.clone();
        async move {
            let ready = phase.wait_for(|phase| *phase == Phase::Ready);
            if ready.await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// For admin pages.
    pub fn inspector(&self) -> Inspector {
        Inspector {
            member: Arc::downgrade(&self.member),
            address: self.member.address(),
            choice: self.member.choice().clone(),
            phase: self.phase.clone(),
        }
    }

    /// Waits for a task to fail: because of a bug, or because the cluster could not be joined
    /// although this is required. [`Send`], and cancel safe.
    pub async fn failed(&mut self) -> TaskFailed {
        self.tasks.failed().await
    }

    /// Hands this member's entries over to the others, announces that it has left, and stops. Takes
    /// `leave_timeout` at most. [`Send`]. If it is cancelled, the member stops at once, as if it had
    /// been killed: the others take its entries over.
    pub async fn leave(mut self) {
        self.member.leave().await;
        let tasks = std::mem::replace(&mut self.tasks, Tasks::new(TASK));
        tasks.abort().await;
        self.member.close();
    }
}

impl Drop for Memberlist {
    fn drop(&mut self) {
        self.member.close();
    }
}

impl Inspector {
    /// What the member is waiting for before it is ready; `None` if it is ready.
    pub fn waiting_for(&self) -> Option<String> {
        match &*self.phase.borrow() {
            Phase::Joining(waiting) => Some(waiting.clone()),
            Phase::Ready => None,
            Phase::Gone => Some("it has left".to_owned()),
        }
    }

    /// The advertised address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The protocol that it speaks now, and why.
    pub fn protocol(&self) -> ProtocolInUse {
        self.choice.in_use()
    }

    /// Who speaks which protocol, and what to do about it, if the members that `join_members` names
    /// do not speak the same.
    pub fn disagreement(&self) -> Option<String> {
        self.choice.disagreement()
    }

    /// All known members, by name, including those that left or died until they are removed. [`Send`],
    /// and cancel safe.
    pub async fn members(&self) -> Vec<Member> {
        match self.member.upgrade() {
            Some(member) => member.members().await,
            None => Vec::new(),
        }
    }

    /// How many other members are alive, as far as this one knows.
    pub fn other_members(&self) -> usize {
        let member = self.member.upgrade();
        member.map_or(0, |member| member.other_members())
    }

    /// The number of active members that this one knows, itself included.
    pub fn active_members(&self) -> usize {
        let member = self.member.upgrade();
        member.map_or(0, |member| member.active_members())
    }

    /// What spoke another protocol to the gossip port last.
    pub fn last_foreigner(&self) -> Option<Foreigner> {
        self.member.upgrade()?.last_foreigner()
    }

    /// All entries, by key; tombstones included.
    pub fn entries(&self) -> Vec<EntryInfo> {
        let member = self.member.upgrade();
        member.map(|member| member.entries()).unwrap_or_default()
    }

    /// Keys of other components in the same ring, by key; always none with chitchat.
    pub fn other_keys(&self) -> Vec<OtherKey> {
        let member = self.member.upgrade();
        member.map(|member| member.other_keys()).unwrap_or_default()
    }

    /// The encoded value of a key.
    pub fn raw(&self, key: &str) -> Option<RawValue> {
        self.member.upgrade()?.raw(key)
    }

    /// The last messages; `None` unless `message_history_buffer_bytes` is set.
    pub fn history(&self) -> Option<History> {
        self.member.upgrade()?.history()
    }
}

#[async_trait::async_trait]
impl<V: Value> Inspect for Shown<V> {
    fn address(&self) -> SocketAddr {
        self.engine.advertised()
    }

    fn choice(&self) -> &Choice {
        &self.choice
    }

    async fn members(&self) -> Vec<Member> {
        let counts = self.engine.copy_counts().await;
        let count = |id: &MemberId| {
            let found = counts.iter().find(|(known, _)| known == id);
            found.map_or(0, |(_, count)| *count)
        };
        let mut records: Vec<_> = self.engine.members().0;
        records.sort_by(|a, b| (&a.id.name, a.id.run).cmp(&(&b.id.name, b.id.run)));
        let member = |record: &MemberRecord| Member {
            name: record.id.name.to_string(),
            address: record.id.address,
            state: record.state,
            heartbeat_age: record.heartbeat_age,
            entries: count(&record.id),
            is_self: record.is_self,
        };
        records.iter().map(member).collect()
    }

    fn other_members(&self) -> usize {
        self.engine.members().others().count()
    }

    fn active_members(&self) -> usize {
        let members = self.engine.members();
        let takes_part = |member: &&MemberRecord| {
            // This one serves requests already while it joins.
            member.is_self || member.state == MemberState::Active
        };
        members.iter().filter(takes_part).count()
    }

    fn entries(&self) -> Vec<EntryInfo> {
        self.view.infos()
    }

    fn raw(&self, key: &str) -> Option<RawValue> {
        self.view.raw(key)
    }

    fn other_keys(&self) -> Vec<OtherKey> {
        self.engine.other_keys()
    }

    fn history(&self) -> Option<History> {
        self.engine.history()
    }

    fn last_foreigner(&self) -> Option<Foreigner> {
        self.engine.last_foreigner()
    }

    async fn leave(&self) {
        leave(&*self.engine, &self.view, &self.phases, self.leave_timeouts).await;
    }

    fn close(&self) {
        self.phases.set(Phase::Gone);
        self.view.close();
    }
}
