//! What a member is told: names, addresses, times, bounds.

use std::net::IpAddr;
use std::time::Duration;

use crate::Keyring;

/// The settings of a member. Names, meaning and defaults are those of Mimir's `memberlist` block.
#[derive(Debug, Clone)]
pub struct MemberlistConfig {
    /// Name of this member; empty for the host's name.
    pub node_name: String,
    /// Append random characters to the name, so that no two members can have the same one.
    pub randomize_node_name: bool,
    /// Addresses to listen on, UDP and TCP; none for all of IPv4.
    pub bind_addr: Vec<IpAddr>,
    /// Port to listen on, UDP and TCP; 0 for one that the kernel chooses.
    pub bind_port: u16,
    /// Address that other members are told; `None` for the first address of `bind_addr` if it is a
    /// specific one, else the address this host reaches others from.
    pub advertise_addr: Option<IpAddr>,
    /// Port that other members are told; 0 for the one listened on.
    pub advertise_port: u16,
    /// Where other members are: `host:port`, `dns+host:port` (A and AAAA records) or
    /// `dnssrv+name` (SRV records); without a port, `bind_port`.
    pub join_members: Vec<String>,
    /// Members of one cluster have one label; packets with another are dropped.
    pub cluster_label: String,
    /// Accept packets whatever their label.
    pub cluster_label_verification_disabled: bool,
    /// Time between two rounds of gossip.
    pub gossip_interval: Duration,
    /// Time between two resolutions of `join_members` at which members that are not known are
    /// contacted; zero for `max_join_backoff`.
    pub rejoin_interval: Duration,
    /// First pause between two attempts to join.
    pub min_join_backoff: Duration,
    /// Longest pause between two attempts to join.
    pub max_join_backoff: Duration,
    /// Attempts to join before `abort_if_cluster_join_fails` has its say; 0 for no end.
    pub max_join_retries: u32,
    /// Fail if nobody could be joined after all attempts, instead of going on trying.
    pub abort_if_cluster_join_fails: bool,
    /// Fail if nobody could be joined at the first attempt.
    pub abort_if_cluster_fast_join_fails: bool,
    /// How long leaving may take, the handing over of entries included.
    pub leave_timeout: Duration,
    /// How long a member that has left, or is dead, is remembered.
    pub left_ingesters_timeout: Duration,
    /// How long the tombstone of a deleted key is kept, longer while members that are gone are
    /// remembered; an own copy that another member's has superseded, half as long.
    pub obsolete_entries_timeout: Duration,
    /// Bytes of sent, and as many of received, messages to keep for the admin page; 0 for none.
    pub message_history_buffer_bytes: usize,
    /// Compress what gossip has not compressed itself.
    pub compression_enabled: bool,
    /// Keys of encryption: the first encrypts, all decrypt. Empty: anyone who reaches the port can
    /// read and write.
    pub encryption_keys: Keyring,
}

impl Default for MemberlistConfig {
    fn default() -> Self {
        Self {
            node_name: String::new(),
            randomize_node_name: true,
            bind_addr: vec![IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)],
            bind_port: 7946,
            advertise_addr: None,
            advertise_port: 0,
            join_members: Vec::new(),
            cluster_label: String::new(),
            cluster_label_verification_disabled: false,
            gossip_interval: Duration::from_millis(200),
            rejoin_interval: Duration::ZERO,
            min_join_backoff: Duration::from_secs(1),
            max_join_backoff: Duration::from_secs(60),
            max_join_retries: 10,
            abort_if_cluster_join_fails: false,
            abort_if_cluster_fast_join_fails: false,
            leave_timeout: Duration::from_secs(20),
            left_ingesters_timeout: Duration::from_secs(300),
            obsolete_entries_timeout: Duration::from_secs(30),
            message_history_buffer_bytes: 0,
            compression_enabled: true,
            encryption_keys: Keyring::default(),
        }
    }
}
