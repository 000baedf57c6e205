//! The typed configuration of gossip. Names follow dskit's YAML.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::secret::Secret;
use super::text;

/// `memberlist.*`: both places where the section may stand, made one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberlistSettings {
    /// `host:port`, `dns+host:port` or `dnssrv+name`, of right syntax where gossip is used.
    pub join_members: Vec<String>,
    /// Empty = all IPv4 addresses.
    pub bind_addr: Vec<IpAddr>,
    /// 0 asks the kernel for a free port.
    pub bind_port: u16,
    /// What others are told; empty in YAML means to find it out.
    #[serde(with = "text::optional")]
    pub advertise_addr: Option<IpAddr>,
    /// 0 = the port listened on.
    pub advertise_port: u16,
    /// Empty = the host's name.
    pub node_name: String,
    /// Random characters after the name.
    pub randomize_node_name: bool,
    /// Packets with another label are dropped.
    pub cluster_label: String,
    /// Any label is taken.
    pub cluster_label_verification_disabled: bool,
    /// Between two rounds.
    #[serde(with = "text::duration")]
    pub gossip_interval: Duration,
    /// No effect.
    pub gossip_nodes: u64,
    /// No effect.
    #[serde(with = "text::duration")]
    pub pull_push_interval: Duration,
    /// Zero = never.
    #[serde(with = "text::duration")]
    pub rejoin_interval: Duration,
    /// First pause between attempts to join.
    #[serde(with = "text::duration")]
    pub min_join_backoff: Duration,
    /// Longest pause between attempts to join.
    #[serde(with = "text::duration")]
    pub max_join_backoff: Duration,
    /// Attempts to join.
    pub max_join_retries: u64,
    /// Exit when all attempts failed.
    pub abort_if_cluster_join_fails: bool,
    /// Exit when the first attempt failed.
    pub abort_if_cluster_fast_join_fails: bool,
    /// Bound of leaving.
    #[serde(with = "text::duration")]
    pub leave_timeout: Duration,
    /// How long members that are gone are remembered.
    #[serde(with = "text::duration")]
    pub left_ingesters_timeout: Duration,
    /// How long deleted and replaced entries are kept.
    #[serde(with = "text::duration")]
    pub obsolete_entries_timeout: Duration,
    /// Bytes, for sent and for received messages each; 0 = none.
    pub message_history_buffer_bytes: u64,
    /// Compress what is sent.
    pub compression_enabled: bool,
    /// Base64 or paths; the first encrypts, all decrypt.
    pub encryption_keys: Vec<Secret>,
    /// Never true where gossip is used: `validate.rs` refuses it.
    pub tls_enabled: bool,
}
