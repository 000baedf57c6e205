//! What can be wrong with a downstream.

/// Why the downstreams cannot be used as configured.
#[derive(Debug, thiserror::Error)]
#[error("downstream {name:?}: {what}: {source}")]
pub struct DownstreamError {
    name: String,
    what: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl DownstreamError {
    /// Of the downstream with this name: `what` cannot be used.
    pub(crate) fn new(
        name: impl Into<String>,
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            name: name.into(),
            what: what.into(),
            source: source.into(),
        }
    }
}
