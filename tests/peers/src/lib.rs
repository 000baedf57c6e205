//! Real servers for tests ([`Etcd`], [`Consul`], [`MemberlistGo`], any other [`Process`]), and the network between them
//! and their clients ([`Proxy`]).
//!
//! Everything binds to loopback, lives in a temporary folder of its own, and is gone when its handle
//! is dropped. Tests wait for conditions ([`wait_for`]), never for time to pass. Nothing here knows
//! the distributor, the tracker or the stores, so that testing a store builds neither.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a harness fails its test by panicking"
)]

mod consul;
mod etcd;
mod http_client;
mod memberlist_go;
mod ports;
mod process;
mod programs;
mod proxy;
mod wait;

pub use consul::{Consul, ConsulOptions};
pub use etcd::{Etcd, EtcdOptions, ServerTlsFiles};
pub use http_client::{get, http_client};
pub use memberlist_go::{GoEntry, GoMember, GoVerdict, MemberlistGo, MemberlistGoOptions};
pub use ports::Port;
pub use process::{Process, Recipe};
pub use programs::{comes_up, only_lost_its_port, output_of, program, target_folder};
pub use proxy::Proxy;
pub use rustix::process::Signal;
pub use scrape_client::{Answer, Labels, Metrics};
pub use wait::{LONG, SHORT, comes_true, wait_for};
