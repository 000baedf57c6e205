//! `/distributor/multi_kv`: primary and secondary of a multi store, and what differs between them.

use serde::{Deserialize, Serialize};

use crate::ReplicaDesc;

/// `/distributor/multi_kv`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultiKv {
    /// The store of the elections, `multi` included; `None` without the HA tracker.
    pub store: Option<String>,
    /// `multi_kv_config` of the runtime configuration.
    #[serde(rename = "override")]
    pub overridden: Option<Override>,
    /// State of the multi store; `None` with any other store.
    #[serde(flatten)]
    pub multi: Option<MultiStore>,
}

/// The override of the configured multi store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Whether to mirror.
    pub mirror_enabled: Option<bool>,
    /// Name of the store to use as primary.
    pub primary: Option<String>,
}

/// A multi store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultiStore {
    /// Copying of what the secondary lacks.
    pub backfill: Backfill,
    /// What differs between the stores.
    pub comparison: Option<Comparison>,
    /// Why there is no comparison.
    pub comparison_error: Option<String>,
    /// The configuration, without overrides.
    pub configured: Configured,
    /// Mirroring of writes.
    pub mirror: Mirror,
    /// Whether writes are mirrored now.
    pub mirror_enabled: bool,
    /// The store that is read, and decides.
    pub primary: String,
    /// Why the override is not in effect.
    pub refused: Option<String>,
    /// The other store.
    pub secondary: String,
    /// Since when these are in effect.
    pub since: String,
}

/// The configured multi store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configured {
    /// Whether to mirror.
    pub mirror_enabled: bool,
    /// How long a mirrored write may take, such as `2s`.
    pub mirror_timeout: String,
    /// Name of the primary.
    pub primary: String,
    /// Name of the secondary.
    pub secondary: String,
}

/// Mirroring of writes to the secondary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    /// The last write that failed.
    pub last_error: Option<MirrorFailure>,
    /// Keys whose writes have not been mirrored yet.
    pub pending_keys: u64,
    /// Failed writes since the start.
    #[serde(default)]
    pub write_errors_total: u64,
    /// Writes since the start, failed ones included.
    #[serde(default)]
    pub writes_total: u64,
}

/// A mirrored write that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorFailure {
    /// When.
    #[serde(default)]
    pub at: String,
    /// Why.
    pub error: String,
    /// Of which key.
    pub key: String,
}

/// Copying of what the secondary lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfill {
    /// Keys copied since the start.
    #[serde(default)]
    pub copied_keys_total: u64,
    /// Keys that could not be copied.
    #[serde(default)]
    pub failed_keys_total: u64,
    /// Keys still to be copied.
    pub pending_keys: u64,
    /// Its progress.
    pub state: BackfillState,
}

/// Progress of copying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackfillState {
    /// Nothing is mirrored.
    Off,
    /// The secondary has not been complete yet.
    Running,
    /// The secondary has all that the primary has.
    Complete,
    /// Of a newer version: written by none, read from any text that is not one of the above.
    #[serde(other)]
    Unknown,
}

/// A comparison of the two stores. Keys are counted by [`Reason`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// How old it is, ms.
    pub age_ms: u64,
    /// When it was made.
    #[serde(default)]
    pub at: String,
    /// Some of the keys that differ.
    pub differences: Vec<Difference>,
    /// [`Reason::Extra`].
    pub extra: u64,
    /// [`Reason::Missing`].
    pub missing: u64,
    /// [`Reason::Newer`].
    pub newer: u64,
    /// [`Reason::Older`].
    pub older: u64,
    /// Keys of the primary.
    #[serde(default)]
    pub primary_keys: u64,
    /// Keys of the secondary.
    #[serde(default)]
    pub secondary_keys: u64,
    /// How long it took, ms.
    #[serde(default)]
    pub took_ms: u64,
    /// Values that were not compared, since they cannot be decoded.
    pub undecodable: u64,
}

/// A key that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The key.
    pub key: String,
    /// Its value in the primary.
    pub primary: Option<ReplicaDesc>,
    /// How it differs.
    pub reason: Reason,
    /// Its value in the secondary.
    pub secondary: Option<ReplicaDesc>,
}

/// How the secondary differs from the primary in a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The secondary has no value.
    Missing,
    /// The secondary has an older value.
    Older,
    /// The secondary has a newer value.
    Newer,
    /// Only the secondary has a value.
    Extra,
    /// Of a newer version: written by none, read from any text that is not one of the above.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_without_a_multi_store_says_no_more_than_the_store() {
        let page = MultiKv {
            store: Some("etcd".to_owned()),
            overridden: None,
            multi: None,
        };
        let text = r#"{"store":"etcd","override":null}"#;
        assert_eq!(serde_json::to_string(&page).unwrap(), text);
        assert_eq!(serde_json::from_str::<MultiKv>(text).unwrap(), page);
        let off: MultiKv = serde_json::from_str(r#"{"store": null}"#).unwrap();
        assert_eq!((off.store, off.multi), (None, None));
    }

    #[test]
    fn what_is_written_is_read() {
        let desc = ReplicaDesc {
            replica: "a".to_owned(),
            ..ReplicaDesc::default()
        };
        let page = MultiKv {
            store: Some("multi".to_owned()),
            overridden: Some(Override {
                mirror_enabled: Some(true),
                primary: None,
            }),
            multi: Some(MultiStore {
                backfill: Backfill {
                    copied_keys_total: 1,
                    failed_keys_total: 2,
                    pending_keys: 3,
                    state: BackfillState::Running,
                },
                comparison: Some(Comparison {
                    age_ms: 4,
                    at: "now".to_owned(),
                    differences: vec![Difference {
                        key: "t/c".to_owned(),
                        primary: Some(desc),
                        reason: Reason::Missing,
                        secondary: None,
                    }],
                    extra: 5,
                    missing: 6,
                    newer: 7,
                    older: 8,
                    primary_keys: 9,
                    secondary_keys: 10,
                    took_ms: 11,
                    undecodable: 12,
                }),
                comparison_error: None,
                configured: Configured {
                    mirror_enabled: false,
                    mirror_timeout: "2s".to_owned(),
                    primary: "consul".to_owned(),
                    secondary: "memberlist".to_owned(),
                },
                mirror: Mirror {
                    last_error: Some(MirrorFailure {
                        at: "then".to_owned(),
                        error: "no".to_owned(),
                        key: "t/c".to_owned(),
                    }),
                    pending_keys: 13,
                    write_errors_total: 14,
                    writes_total: 15,
                },
                mirror_enabled: true,
                primary: "consul".to_owned(),
                refused: None,
                secondary: "memberlist".to_owned(),
                since: "then".to_owned(),
            }),
        };
        let text = serde_json::to_string(&page).unwrap();
        assert_eq!(serde_json::from_str::<MultiKv>(&text).unwrap(), page);
        assert!(text.contains(r#""reason":"missing""#), "{text}");
    }

    #[test]
    fn what_a_newer_version_says_can_be_read() {
        let newer = r#"{"key": "k", "primary": null, "reason": "forked", "secondary": null}"#;
        let difference: Difference = serde_json::from_str(newer).unwrap();
        assert_eq!(difference.reason, Reason::Unknown);
        let newer = r#"{"pending_keys": 1, "state": "paused"}"#;
        let backfill: Backfill = serde_json::from_str(newer).unwrap();
        assert_eq!(backfill.state, BackfillState::Unknown);
    }
}
