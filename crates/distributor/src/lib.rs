//! The remote-write distributor that stores each sample of highly available Prometheus pairs once.
//!
//! [`start`] composes the parts into a running distributor: configuration, key-value store, HA
//! tracker, push path, downstream clients and the HTTP server. The binary is a thin wrapper around
//! it, and tests call it too; several distributors can run in one process.

/// The configuration, read with the stores of this build.
pub mod config {
    use std::ffi::OsString;

    pub use distributor_config::*;

    /// As [`distributor_config::load`], with a trial of the stores that are chosen.
    ///
    /// # Errors
    /// All mistakes of all sources; the caller prints them and exits with status 64.
    pub fn load(
        arguments: impl IntoIterator<Item = OsString>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Invocation, ConfigErrors> {
        distributor_config::load(arguments, variables, &crate::store::check)
    }
}

mod app;
pub mod descriptors;
mod ended;
mod grpc_server;
mod http_server;
mod intake;
mod listener;
pub mod logging;
mod metrics;
mod multi;
pub mod reference;
pub mod signals;
mod store;
mod tls;

pub use app::{Checked, Running, StartError, check, start, start_with_store};
pub use store::StoreConfigError;

/// Version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Revision of this build: `GIT_REVISION` of its environment, else that of the repository it was
/// built in (`build.rs`).
pub const REVISION: &str = env!("GIT_REVISION");
