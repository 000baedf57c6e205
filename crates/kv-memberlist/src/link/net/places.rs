//! Slots of incoming connections: many for members, few for strangers.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};

use kv_core::lock;
use tokio::sync::Notify;

use crate::link::Standing;
use crate::metrics::Metrics;

/// Connections at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Connections that have carried a packet of a member.
    pub(super) members: usize,
    /// All others.
    pub(super) others: usize,
    /// Those of one host.
    pub(super) per_host: usize,
}

/// The slots in use. A new connection always gets one: if necessary, it replaces the connection
/// that has carried no useful packet for the longest time, of the same host if that has too many.
pub(super) struct Places {
    bounds: Bounds,
    metrics: Metrics,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Increases with each use of any slot.
    uses: u64,
    taken: HashMap<u64, Taken>,
}

struct Taken {
    host: IpAddr,
    member: bool,
    used: u64,
    leave: Arc<Notify>,
}

/// The slot of one connection, freed when it is dropped.
pub(super) struct Place {
    id: u64,
    leave: Arc<Notify>,
    places: Arc<Places>,
}

impl Places {
    pub(super) fn new(bounds: Bounds, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            metrics,
            state: Mutex::default(),
        })
    }

    /// Takes a slot for a connection from this address.
    pub(super) fn enter(self: &Arc<Self>, from: IpAddr) -> Place {
        let host = host(from);
        let leave = Arc::new(Notify::new());
        let mut state = self.lock();
        let of_host = |taken: &Taken| !taken.member && taken.host == host;
        let other = |taken: &Taken| !taken.member;
        let gone = state.make_room(self.bounds.per_host, of_host)
            + state.make_room(self.bounds.others, other);
        self.metrics.displaced.inc_by(gone);
        state.uses += 1;
        let id = state.uses;
        let taken = Taken {
            host,
            member: false,
            used: id,
            leave: Arc::clone(&leave),
        };
        state.taken.insert(id, taken);
        Place {
            id,
            leave,
            places: Arc::clone(self),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// Closes the least recently useful connections of this kind until there are fewer than
    /// `bound`; returns their number.
    fn make_room(&mut self, bound: usize, kind: impl Fn(&Taken) -> bool) -> u64 {
        let mut gone = 0;
        loop {
            let of_kind = || self.taken.iter().filter(|(_, taken)| kind(taken));
            if of_kind().count() < bound {
                return gone;
            }
            let last = of_kind().min_by_key(|(_, taken)| taken.used);
            let Some(taken) = last
                .map(|(id, _)| *id)
                .and_then(|id| self.taken.remove(&id))
            else {
                return gone;
            };
            taken.leave.notify_one();
            gone += 1;
        }
    }
}

impl Place {
    /// Waits until another connection needs the slot.
    pub(super) async fn lost(&self) {
        self.leave.notified().await;
    }

    /// The connection has carried a packet of such a sender.
    pub(super) fn used(&self, standing: Standing) {
        if standing == Standing::Stranger {
            return;
        }
        let mut state = self.places.lock();
        state.uses += 1;
        let used = state.uses;
        let member = standing == Standing::Member;
        let becomes_member = member && state.taken.get(&self.id).is_some_and(|taken| !taken.member);
        if becomes_member {
            let bound = self.places.bounds.members;
            let gone = state.make_room(bound, |taken| taken.member);
            self.places.metrics.displaced.inc_by(gone);
        }
        if let Some(taken) = state.taken.get_mut(&self.id) {
            taken.used = used;
            taken.member |= member;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().taken.remove(&self.id);
    }
}

/// A host that has one IPv6 address has 2^64.
fn host(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use prometheus_client::registry::Registry;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        members: 3,
        others: 4,
        per_host: 2,
    };

    fn places() -> Arc<Places> {
        Places::new(BOUNDS, Metrics::register(&mut Registry::default()))
    }

    fn ip(number: u8) -> IpAddr {
        [10, 0, 0, number].into()
    }

    fn is_lost(place: &Place) -> bool {
        place.lost().now_or_never().is_some()
    }

    #[test]
    fn who_brought_nothing_gives_way_first_within_its_host() {
        let places = places();
        let (other, first, second) = (
            places.enter(ip(1)),
            places.enter(ip(2)),
            places.enter(ip(2)),
        );
        first.used(Standing::Guest);
        second.used(Standing::Stranger);
        let third = places.enter(ip(2));
        assert_eq!(
            [&other, &first, &second, &third].map(is_lost),
            [false, false, true, false]
        );
        let _more = [places.enter(ip(3)), places.enter(ip(4))];
        assert!(is_lost(&other) && !is_lost(&first));
        assert_eq!(places.metrics.displaced.get(), 2);
    }

    #[test]
    fn strangers_take_no_place_of_a_member() {
        let places = places();
        let member = places.enter(ip(1));
        member.used(Standing::Member);
        let strangers: Vec<Place> = (0..100).map(|_| places.enter(ip(1))).collect();
        assert!(!is_lost(&member));
        assert_eq!(strangers.iter().filter(|place| !is_lost(place)).count(), 2);
        let members: Vec<Place> = (2..6).map(|number| places.enter(ip(number))).collect();
        for place in &members {
            place.used(Standing::Member);
        }
        assert!(is_lost(&member) && is_lost(&members[0]));
        drop(members);
        drop(strangers);
        drop(member);
        assert!(places.lock().taken.is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_host() {
        let parse = |text: &str| host(text.parse().unwrap_or(ip(0)));
        assert_eq!(parse("2001:db8::1"), parse("2001:db8::ffff:1"));
        assert_ne!(parse("2001:db8::1"), parse("2001:db8:0:1::1"));
        assert_eq!(parse("::ffff:10.0.0.1"), ip(1));
    }
}
