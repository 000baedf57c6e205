//! The remote-write distributor that stores each sample of highly available Prometheus pairs once.
//!
//! [`start`] composes the parts into a running distributor: configuration, key-value store, HA
//! tracker, push path, downstream clients and the HTTP server. The binary is a thin wrapper around
//! it, and tests call it too; several distributors can run in one process.

mod access;
mod app;
pub mod descriptors;
mod failover;
mod fleet;
mod forget;
mod grpc_server;
mod http_server;
mod intake;
mod listener;
pub mod logging;
mod metrics;
mod multi;
#[cfg(feature = "profiles")]
mod profiles;
mod program;
pub mod reference;
pub mod signals;
mod store;
pub mod traces;
mod version;

pub use access::AccessError;
pub use app::{Checked, Running, StartError, check, start, start_with_store, start_within};
pub use program::{HeapProfiler, Program};
pub use store::{StoreConfigError, check as check_store};
pub use version::VERSION;
