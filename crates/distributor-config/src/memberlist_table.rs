//! The part of the table about gossip. Names and defaults are dskit's, but for `encryption_keys`.

use super::kind::Kind;
use super::setting::Setting;

/// Section of these settings, as in Mimir's files.
pub(super) const SECTION: &str = "memberlist";

/// Where the section may stand as well, as in Mimir's migration guide. It is nearer to the store
/// there: what it sets wins over the same in [`SECTION`] of the same file.
pub(super) const SECTION_IN_KVSTORE: &str = "distributor.ha_tracker.kvstore.memberlist";

/// The path below [`SECTION_IN_KVSTORE`] of a setting below [`SECTION`].
pub(super) fn path_in_kvstore(path: &str) -> Option<String> {
    let name = path.strip_prefix(SECTION)?.strip_prefix('.')?;
    Some(format!("{SECTION_IN_KVSTORE}.{name}"))
}

/// The settings below `memberlist`.
pub(super) static MEMBERLIST: &[Setting] = &[
    Setting::new(
        "memberlist.join_members",
        "memberlist.join",
        Kind::List,
        "",
        "Members to contact at first: host:port, dns+host:port for all addresses of a name, or \
         dnssrv+name for its SRV records; without a port, bind_port. The names are resolved again \
         at each attempt.",
    )
    .basic(),
    Setting::new(
        "memberlist.bind_addr",
        "memberlist.bind-addr",
        Kind::Addresses,
        "0.0.0.0",
        "IP addresses to listen on, UDP and TCP; an empty list is the same as 0.0.0.0.",
    ),
    Setting::new(
        "memberlist.bind_port",
        "memberlist.bind-port",
        Kind::Port,
        "7946",
        "Port to listen on, UDP and TCP; 0 for a free one.",
    )
    .basic(),
    Setting::new(
        "memberlist.advertise_addr",
        "memberlist.advertise-addr",
        Kind::Address,
        "",
        "IP address at which others reach this member; empty to find it out from bind_addr and \
         the host's interfaces.",
    ),
    Setting::new(
        "memberlist.advertise_port",
        "memberlist.advertise-port",
        Kind::Port,
        "0",
        "Port at which others reach this member; 0 for the one listened on.",
    ),
    Setting::new(
        "memberlist.node_name",
        "memberlist.nodename",
        Kind::Text,
        "",
        "Name of this member, at most 100 bytes; empty for the host's name.",
    ),
    Setting::new(
        "memberlist.randomize_node_name",
        "memberlist.randomize-node-name",
        Kind::Bool,
        "true",
        "Append random characters to the name, so that no two members have the same.",
    ),
    Setting::new(
        "memberlist.cluster_label",
        "memberlist.cluster-label",
        Kind::Text,
        "",
        "Sent with every packet; packets with another label are dropped, so that two fleets that \
         reach each other stay apart. At most 255 bytes, the same on all members.",
    ),
    Setting::new(
        "memberlist.cluster_label_verification_disabled",
        "memberlist.cluster-label-verification-disabled",
        Kind::Bool,
        "false",
        "Take packets whatever their label: for the time in which a running fleet gets one.",
    ),
    Setting::new(
        "memberlist.gossip_interval",
        "memberlist.gossip-interval",
        Kind::Duration,
        "200ms",
        "Time between two rounds of gossip, from 10ms to 10s; shorter spreads an election faster \
         and costs more packets.",
    ),
    Setting::new(
        "memberlist.gossip_nodes",
        "memberlist.gossip-nodes",
        Kind::Unsigned,
        "3",
        "No effect, accepted because Mimir has it: each round of gossip goes to 3 members.",
    )
    .unused(),
    Setting::new(
        "memberlist.pull_push_interval",
        "memberlist.pullpush-interval",
        Kind::Duration,
        "30s",
        "No effect, accepted because Mimir has it: every round of gossip compares the whole state.",
    )
    .unused(),
    Setting::new(
        "memberlist.rejoin_interval",
        "memberlist.rejoin-interval",
        Kind::Duration,
        "0s",
        "How often those of join_members that are not known are contacted while running, which \
         heals a fleet that was split for long; 0 for every max_join_backoff.",
    ),
    Setting::new(
        "memberlist.min_join_backoff",
        "memberlist.min-join-backoff",
        Kind::Duration,
        "1s",
        "Pause after the first failed attempt to join; it doubles with each further one.",
    ),
    Setting::new(
        "memberlist.max_join_backoff",
        "memberlist.max-join-backoff",
        Kind::Duration,
        "1m",
        "Longest pause between two attempts to join; at least min_join_backoff.",
    ),
    Setting::new(
        "memberlist.max_join_retries",
        "memberlist.max-join-retries",
        Kind::Unsigned,
        "10",
        "Attempts to join before abort_if_cluster_join_fails decides; 0 for no end.",
    ),
    Setting::new(
        "memberlist.abort_if_cluster_join_fails",
        "memberlist.abort-if-join-fails",
        Kind::Bool,
        "false",
        "Exit when no member could be joined after all attempts, instead of going on alone.",
    ),
    Setting::new(
        "memberlist.abort_if_cluster_fast_join_fails",
        "memberlist.abort-if-fast-join-fails",
        Kind::Bool,
        "false",
        "Exit when no member could be joined at the first attempt.",
    ),
    Setting::new(
        "memberlist.leave_timeout",
        "memberlist.leave-timeout",
        Kind::Duration,
        "20s",
        "How long leaving may take at shutdown, the last rounds of gossip included.",
    ),
    Setting::new(
        "memberlist.left_ingesters_timeout",
        "memberlist.left-ingesters-timeout",
        Kind::Duration,
        "5m",
        "How long a member that has left, or is dead, is remembered.",
    ),
    Setting::new(
        "memberlist.obsolete_entries_timeout",
        "memberlist.obsolete-entries-timeout",
        Kind::Duration,
        "30s",
        "How long the tombstone of a deleted entry is kept (longer while members that are gone \
         are remembered); an own copy that another member's has replaced, half as long.",
    ),
    Setting::new(
        "memberlist.message_history_buffer_bytes",
        "memberlist.message-history-buffer-bytes",
        Kind::Size,
        "0",
        "Bytes of sent, and as many of received, messages with entries to keep for the page \
         /memberlist; at most 64MiB. 0 for none.",
    ),
    Setting::new(
        "memberlist.compression_enabled",
        "memberlist.compression-enabled",
        Kind::Bool,
        "true",
        "Compress what gossip has not compressed already.",
    ),
    Setting::new(
        "memberlist.encryption_keys",
        "memberlist.encryption-keys",
        Kind::List,
        "",
        "Keys of the gossip, at most 8, each in base64 or as the path of a file that holds one. \
         The first encrypts, all decrypt. Without any, whoever reaches the port can read and \
         change elections. Not a setting of Mimir.",
    )
    .secret(),
    Setting::new(
        "memberlist.tls_enabled",
        "memberlist.tls-enabled",
        Kind::Bool,
        "false",
        "Must be false: gossip is encrypted by encryption_keys here, not by TLS.",
    ),
];
