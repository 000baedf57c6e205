//! The other ends of remote write, 1.0 and 2.0: what senders and receivers do, and what became of every
//! sample in between. For demonstrations, end-to-end tests, benchmarks and drills.
//!
//! | | |
//! |---|---|
//! | requests | [`Series`] of both versions, [`to_body`] and [`decode`]; [`generate`] makes those of a fleet of node exporters, ahead of what is measured with them |
//! | senders | [`Sender`] sends one request and reads its answer; [`Replica`] is one of an HA pair, on a schedule, and repeats what was not answered; [`Load`] is many pairs behind a load balancer |
//! | receiver | [`Sink`] keeps what it gets, and fails on demand |
//! | verdict | [`Checker`] tells doubled samples and gaps from what arrived; [`Ledger`] knows what was sent, and tells what was lost too |
//!
//! It knows remote write, and neither a distributor nor how replicas are elected. Where the code under
//! test has a compressor or a decoder of its own, this has another, so that mistakes do not cancel out.
//! A few functions panic instead of returning an error; they say so, and are for tests.
//!
//! ```
//! use remote_write_testkit::{Cluster, Delivery, Ledger};
//!
//! let (pair, mut ledger) = (Cluster::new("tenant", "pair"), Ledger::default());
//! let delivery = |accepted| Delivery { accepted, unanswered: 0, took: Default::default() };
//! ledger.sent(&pair, 0, 7, delivery(true));
//! ledger.sent(&pair, 1, 7, delivery(false));
//! ledger.arrived(&pair, 0, 7);
//! let account = ledger.account(7..8);
//! assert!(account.lost.is_empty() && account.doubled.is_empty());
//! ```

mod checker;
mod clock;
mod decode;
mod encode;
pub mod generate;
pub mod http_server;
mod ledger;
mod load;
mod pairs;
mod replica;
mod schedule;
mod sender;
mod series;
mod sink;
mod slot;
mod targets;

pub use checker::{Checker, Counts, Gap};
pub use clock::now_ms;
pub use decode::{decode, from_v1, from_v2};
pub use encode::{compress, to_body, to_protobuf, to_v1, to_v2};
pub use ledger::{Account, Cluster, Delivery, Ledger};
pub use load::Load;
pub use pairs::{REPLICAS, pair_series};
pub use remote_write::Version;
pub use remote_write::proto::{v1, v2};
pub use replica::{Replica, ReplicaConfig, ReplicaCounts};
pub use sender::{Sender, Unanswered, headers};
pub use series::{Exemplar, Labels, MetricMetadata, STALE_NAN_BITS, Sample, Series, labels};
pub use sink::{Fault, ReceivedRequest, Sink};
