//! The two stores, and which of them is the current primary.

use std::sync::Arc;

use futures::future::BoxFuture;
use kv_core::{Store, Value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::state::{Refused, Side, State};

/// One of the two stores.
pub struct Part<V> {
    pub(crate) store: Arc<dyn Store<V>>,
    /// Ends when it can be used; `None`: it can.
    pub(crate) usable: Option<BoxFuture<'static, ()>>,
}

impl<V> Part<V> {
    /// A store that is used only after `usable` ends, such as gossip after it has joined: as the
    /// secondary it is neither mirrored to nor compared before that.
    pub fn when(store: Arc<dyn Store<V>>, usable: BoxFuture<'static, ()>) -> Self {
        Self {
            store,
            usable: Some(usable),
        }
    }
}

impl<V> From<Arc<dyn Store<V>>> for Part<V> {
    fn from(store: Arc<dyn Store<V>>) -> Self {
        Self {
            store,
            usable: None,
        }
    }
}

/// The direction: from which store to which.
pub(crate) struct Route<V> {
    pub(crate) primary: Arc<dyn Store<V>>,
    pub(crate) secondary: Arc<dyn Store<V>>,
    /// Cancelled when the primary can be used.
    pub(crate) primary_usable: CancellationToken,
    /// Cancelled when the secondary can be used.
    pub(crate) secondary_usable: CancellationToken,
}

impl<V> Clone for Route<V> {
    fn clone(&self) -> Self {
        Self {
            primary: Arc::clone(&self.primary),
            secondary: Arc::clone(&self.secondary),
            primary_usable: self.primary_usable.clone(),
            secondary_usable: self.secondary_usable.clone(),
        }
    }
}

/// The two stores and their roles. Reading a role takes no lock for longer than a copy.
pub(crate) struct Roles<V> {
    /// As configured: the primary, the secondary.
    stores: [Arc<dyn Store<V>>; 2],
    /// Which of them can be used.
    usable: [CancellationToken; 2],
    /// Innermost lock of this crate: no other lock is taken while it is held.
    states: watch::Sender<State>,
    metrics: Metrics,
}

impl<V: Value> Roles<V> {
    /// As configured. Each of `usable` is cancelled when its store can be used.
    pub(crate) fn new(
        stores: [Arc<dyn Store<V>>; 2],
        usable: [CancellationToken; 2],
        mirror_enabled: bool,
        metrics: Metrics,
    ) -> Self {
        metrics.state(stores[0].name(), stores[1].name(), mirror_enabled);
        Self {
            stores,
            usable,
            states: watch::Sender::new(State::new(mirror_enabled)),
            metrics,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.states.borrow().clone()
    }

    /// Calls `act` with the state, which cannot change during the call: for metrics of one state.
    pub(crate) fn while_in<R>(&self, act: impl FnOnce(&State) -> R) -> R {
        act(&self.states.borrow())
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<State> {
        self.states.subscribe()
    }

    pub(crate) fn store(&self, side: Side) -> &Arc<dyn Store<V>> {
        &self.stores[side.index()]
    }

    /// The side of the store of this name.
    pub(crate) fn side(&self, name: &str) -> Result<Side, Refused> {
        [Side::First, Side::Second]
            .into_iter()
            .find(|side| self.store(*side).name() == name)
            .ok_or_else(|| Refused {
                primary: name.to_owned(),
                first: self.stores[0].name(),
                second: self.stores[1].name(),
            })
    }

    pub(crate) fn route(&self, state: &State) -> Route<V> {
        let (primary, secondary) = (state.primary, state.primary.other());
        Route {
            primary: Arc::clone(self.store(primary)),
            secondary: Arc::clone(self.store(secondary)),
            primary_usable: self.usable[primary.index()].clone(),
            secondary_usable: self.usable[secondary.index()].clone(),
        }
    }

    /// Puts a state into effect. Its metrics change with it: a metric of one state is set within
    /// [`Roles::while_in`].
    pub(crate) fn enter(&self, after: State) {
        let primary = self.store(after.primary).name();
        let other = self.store(after.primary.other()).name();
        self.states.send_modify(|state| {
            self.metrics.state(primary, other, after.mirror_enabled);
            *state = after;
        });
    }

    /// Reads from the primary; if there is a switch in the meantime, from the new primary.
    pub(crate) async fn read<'a, T>(
        &'a self,
        call: impl Fn(&'a dyn Store<V>) -> BoxFuture<'a, T> + Send,
    ) -> T {
        loop {
            let state = self.state();
            tokio::select! {
                biased;
                answer = call(&**self.store(state.primary)) => return answer,
                () = state.moved.cancelled() => {}
            }
        }
    }
}
