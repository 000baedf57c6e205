//! Who asks this member for a snapshot.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;

use kv_core::lock;
use tokio::sync::Notify;

use super::message::Ask;

/// Joiners that wait for an answer at most; further ones ask again later.
const MAX_WAITING: usize = 64;

/// What was asked and is not answered yet.
#[derive(Default)]
pub(crate) struct Asks {
    waiting: Mutex<VecDeque<Asked>>,
    wake: Notify,
}

/// What a joiner asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) by: SocketAddr,
    pub(super) ask: Ask,
}

impl Asks {
    /// A joiner asks; what it asked before and was not answered, it does not want any more.
    pub(crate) fn ask(&self, by: SocketAddr, ask: Ask) {
        let mut waiting = lock(&self.waiting);
        if let Some(before) = waiting.iter_mut().find(|asked| asked.by == by) {
            before.ask = ask;
        } else if waiting.len() < MAX_WAITING {
            waiting.push_back(Asked { by, ask });
        }
        self.wake.notify_one();
    }

    /// Waits until something is asked.
    pub(super) async fn asked(&self) {
        self.wake.notified().await;
    }

    /// Who waits.
    pub(super) fn joiners(&self) -> Vec<SocketAddr> {
        lock(&self.waiting).iter().map(|asked| asked.by).collect()
    }

    pub(super) fn first(&self) -> Option<Asked> {
        lock(&self.waiting).front().copied()
    }

    /// The first one, as it is by now.
    pub(super) fn take_first(&self) -> Option<Asked> {
        lock(&self.waiting).pop_front()
    }
}
