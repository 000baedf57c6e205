//! One connection for each packet and each exchange of states, on one port; with TLS if it is set.

mod connection;
mod exchange;
mod incoming;
mod outgoing;
#[cfg(feature = "testing")]
mod simulated;
mod sockets;

pub(super) use self::exchange::{Exchange, exchange_states};
pub(super) use self::incoming::accept;
pub(super) use self::outgoing::{Outgoing, send_packets};
#[cfg(feature = "testing")]
pub(crate) use self::simulated::bind as bind_simulated;
pub(super) use self::sockets::Dial;
pub(crate) use self::sockets::{Sockets, bind};
