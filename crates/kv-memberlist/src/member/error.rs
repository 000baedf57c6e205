//! Why a member cannot start.

use settings::Mistakes;

use super::resolve::JoinMemberError;
use crate::engine::memberlist::TlsSetupError;
use crate::seal::keyring::KeyError;

/// Why a member cannot start. Settings have their names in
/// [`MemberlistConfig`](crate::MemberlistConfig).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Settings break rules.
    #[error("{0}")]
    Settings(#[from] Mistakes),
    /// An encryption key is not valid.
    #[error("encryption_keys: {0}")]
    Key(#[from] KeyError),
    /// An entry of `join_members` is not valid.
    #[error("{0}")]
    JoinMember(#[from] JoinMemberError),
    /// The port cannot be listened on.
    #[error("cannot listen (bind_addr, bind_port): {0}")]
    Bind(#[source] std::io::Error),
    /// TLS cannot be set up.
    #[error("TLS (tls_cert_path, tls_key_path, tls_ca_path): {0}")]
    Tls(#[from] TlsSetupError),
    /// Gossip does not start.
    #[error("gossip cannot start: {0}")]
    Gossip(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StartError {
    /// Whether a later start may succeed, without a change of program or settings: the address may be
    /// free then.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Bind(_) | Self::Gossip(_))
    }
}
