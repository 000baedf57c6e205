//! The parameters of the page.

use serde::Deserialize;

/// Mimir's parameters, and our own filter.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Wanted {
    /// Show the value of this key.
    #[serde(rename = "viewKey")]
    pub(super) view_key: Option<String>,
    /// Send the stored bytes of this key.
    #[serde(rename = "downloadKey")]
    pub(super) download_key: Option<String>,
    /// `json`: the value, decoded, and nothing else.
    #[serde(default)]
    pub(super) format: String,
    /// Keeps the rows whose key contains this.
    #[serde(default)]
    pub(super) key: String,
    /// Page of the keys, from 1.
    pub(super) page: Option<usize>,
}
