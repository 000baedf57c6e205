//! TLS from PEM files: [`client_config`] for clients, and [`pem`] for servers that build their own
//! configuration.
//!
//! It knows rustls and no setting by name. Files are read when a function is called, and not again.

mod client;
pub mod pem;

pub use client::{ClientFiles, TlsError, client_config};
pub use pem::PemError;
