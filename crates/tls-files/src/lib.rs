//! TLS from PEM files: [`client_config`] for clients that read them once, [`ReloadingClient`] and
//! [`ReloadingIdentity`] for those that read them again when they change, and [`pem`] for servers that
//! build their own configuration.
//!
//! It knows rustls and no setting by name.

mod client;
mod limits;
pub mod pem;
mod reload;

pub use client::{ClientFiles, TlsError, client_config};
pub use limits::{LimitsError, TlsLimits};
pub use pem::PemError;
pub use reload::{ReloadingClient, ReloadingIdentity};
