//! An engine that can be replaced by one of another protocol while the member runs.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use tokio::sync::RwLock as AsyncRwLock;

use super::{CatchUp, ContactInfo, Copies, Engine, MemberChange, MemberId, Members};
use crate::link::foreign::{Answered, ForeignProtocol, Foreigner};
use crate::status::{History, MemberState, OtherKey};
use crate::view::entry::EntryText;

/// The engine of now. Calls that began before a change end with the one before, and what they do
/// there no other member sees; but for what is published or announced, which a change waits for.
pub(crate) struct Changing {
    now: RwLock<Arc<dyn Engine>>,
    /// Held for writing while the engine changes. Lock order: the first one.
    change: AsyncRwLock<()>,
}

impl Changing {
    pub(crate) fn new(engine: Arc<dyn Engine>) -> Self {
        Self {
            now: RwLock::new(engine),
            change: AsyncRwLock::default(),
        }
    }

    fn now(&self) -> Arc<dyn Engine> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&now)
    }

    /// Replaces the engine by what `next` makes, which is given the one before. That one stops when
    /// its last user drops it. Nothing is published or announced meanwhile.
    pub(crate) async fn change<E, F>(
        &self,
        next: impl FnOnce(Arc<dyn Engine>) -> F,
    ) -> Result<(), E>
    where
        F: Future<Output = Result<Arc<dyn Engine>, E>>,
    {
        let _changing = self.change.write().await;
        let stopped = Arc::new(Stopped(self.now().advertised()));
        let before = {
            let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *now, stopped)
        };
        let next = next(before).await?;
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }
}

#[async_trait]
impl Engine for Changing {
    fn advertised(&self) -> SocketAddr {
        self.now().advertised()
    }

    fn own_state(&self) -> MemberState {
        self.now().own_state()
    }

    async fn announce(&self, state: MemberState) {
        let _same = self.change.read().await;
        self.now().announce(state).await;
    }

    async fn announced(&self) {
        self.now().announced().await;
    }

    async fn poll_members(&self) -> Vec<MemberChange> {
        self.now().poll_members().await
    }

    fn health_score(&self) -> Option<u32> {
        self.now().health_score()
    }

    fn members(&self) -> Members {
        self.now().members()
    }

    async fn copy_counts(&self) -> Vec<(MemberId, usize)> {
        self.now().copy_counts().await
    }

    async fn publish(&self, take: &mut (dyn FnMut() -> Vec<EntryText> + Send)) {
        let _same = self.change.read().await;
        self.now().publish(take).await;
    }

    async fn withdraw(
        &self,
        choose: &mut (dyn for<'a> FnMut(&'a dyn Copies) -> Vec<String> + Send),
    ) {
        self.now().withdraw(choose).await;
    }

    async fn forget(&self, choose: &mut (dyn FnMut() -> Vec<String> + Send)) {
        self.now().forget(choose).await;
    }

    async fn visit(&self, look: &mut (dyn for<'a> FnMut(&'a dyn Copies) + Send)) {
        self.now().visit(look).await;
    }

    fn exchange(&self, with: SocketAddr) {
        self.now().exchange(with);
    }

    fn expect(&self, addresses: &[SocketAddr]) {
        self.now().expect(addresses);
    }

    fn contact(&self, address: SocketAddr) {
        self.now().contact(address);
    }

    fn contact_info(&self, address: SocketAddr) -> ContactInfo {
        self.now().contact_info(address)
    }

    async fn identify(&self, address: SocketAddr, label: &str) -> Option<ForeignProtocol> {
        self.now().identify(address, label).await
    }

    async fn ask(&self, address: SocketAddr, label: &str) -> Option<Answered> {
        self.now().ask(address, label).await
    }

    fn last_foreigner(&self) -> Option<Foreigner> {
        self.now().last_foreigner()
    }

    fn has_heard_any(&self) -> bool {
        self.now().has_heard_any()
    }

    async fn catch_up(&self, why: CatchUp<'_>, progress: &(dyn Fn(String) + Send + Sync)) {
        self.now().catch_up(why, progress).await;
    }

    fn note_stall(&self) {
        self.now().note_stall();
    }

    fn other_keys(&self) -> Vec<OtherKey> {
        self.now().other_keys()
    }

    fn history(&self) -> Option<History> {
        self.now().history()
    }
}

/// Stands in while one engine has stopped, and the next has not started.
struct Stopped(SocketAddr);

#[async_trait]
impl Engine for Stopped {
    fn advertised(&self) -> SocketAddr {
        self.0
    }

    fn own_state(&self) -> MemberState {
        MemberState::Joining
    }

    async fn announce(&self, _: MemberState) {}

    async fn announced(&self) {}

    async fn poll_members(&self) -> Vec<MemberChange> {
        Vec::new()
    }

    fn members(&self) -> Members {
        Members::default()
    }

    async fn copy_counts(&self) -> Vec<(MemberId, usize)> {
        Vec::new()
    }

    async fn publish(&self, _: &mut (dyn FnMut() -> Vec<EntryText> + Send)) {}

    async fn withdraw(&self, _: &mut (dyn for<'a> FnMut(&'a dyn Copies) -> Vec<String> + Send)) {}

    async fn forget(&self, _: &mut (dyn FnMut() -> Vec<String> + Send)) {}

    async fn visit(&self, _: &mut (dyn for<'a> FnMut(&'a dyn Copies) + Send)) {}

    fn exchange(&self, _: SocketAddr) {}

    fn expect(&self, _: &[SocketAddr]) {}

    fn contact(&self, _: SocketAddr) {}

    fn contact_info(&self, _: SocketAddr) -> ContactInfo {
        ContactInfo::default()
    }

    fn has_heard_any(&self) -> bool {
        false
    }

    async fn catch_up(&self, _: CatchUp<'_>, _: &(dyn Fn(String) + Send + Sync)) {}

    fn note_stall(&self) {}

    fn history(&self) -> Option<History> {
        None
    }
}
