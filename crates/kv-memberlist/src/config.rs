//! Settings of a member: names, addresses, times, limits.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use settings::{Kind, Report, Secret, format_duration, settings, words};
use tls_files::TlsLimits;

use crate::member::check_join_member;
use crate::names::is_showable;
use crate::seal::keyring::MAX_KEYS;
use crate::seal::keyring::{KeyError, Keyring};
use crate::seal::packet::MAX_LABEL;

/// Longest name, bytes: together with the random suffix it stays below the limit of a digest.
pub(crate) const MAX_NODE_NAME: usize = 100;
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
const LONGEST_INTERVAL: Duration = Duration::from_secs(10);
/// Longest text of a key: base64 or a path.
const MAX_KEY_TEXT: usize = 4096;
const MAX_HISTORY: u64 = 64 << 20;
const MOST_REPETITIONS: u64 = 100;
const MOST_WRITES: u64 = 1000;

words! {
    /// `memberlist.protocol`.
    pub enum Protocol {
        /// What the members speak that answer: memberlist if one does, or else chitchat.
        Auto = "auto",
        /// chitchat's gossip, which distributors speak among themselves.
        Chitchat = "chitchat",
        /// HashiCorp's memberlist, as members of Mimir's and Cortex's rings speak it.
        Memberlist = "memberlist",
    }
}

words! {
    /// `memberlist.compression_algorithm`.
    pub enum CompressionAlgorithm {
        /// What all members of memberlist read.
        Lzw = "lzw",
        /// What members of 2026 and later read.
        Snappy = "snappy",
    }
}

settings! {
    /// The settings of a member. Names, meaning and defaults are those of Mimir's `memberlist`
    /// block, except for `encryption_keys`.
    #[serde(deny_unknown_fields)]
    pub struct MemberlistConfig {
        /// Members to contact at first: host:port, dns+host:port for all addresses of a name, or
        /// dnssrv+name for its SRV records; without a port, bind_port. The names are resolved again
        /// at each attempt.
        #[setting(flag = "join", kind = Kind::List, default = "", basic)]
        pub join_members: Vec<String>,
        /// What all members speak: chitchat, for a ring of distributors of this kind only;
        /// memberlist, to be a member of the gossip ring of Mimir's own distributors; or auto, for
        /// memberlist if a member that join_members names speaks it, and else chitchat. Members that
        /// speak one cannot join those that speak the other. Not a setting of Mimir.
        #[setting(
            flag = "protocol",
            kind = Kind::OneOf(Protocol::WORDS),
            default = "auto",
            basic
        )]
        pub protocol: Protocol,
        /// IP addresses to listen on, UDP and TCP; an empty list is the same as 0.0.0.0.
        #[setting(flag = "bind-addr", kind = Kind::Addresses, default = "0.0.0.0")]
        pub bind_addr: Vec<IpAddr>,
        /// Port to listen on, UDP and TCP; 0 for a free one.
        #[setting(flag = "bind-port", kind = Kind::Port, default = "7946", basic)]
        pub bind_port: u16,
        /// IP address at which others reach this member; empty to derive it from bind_addr and the
        /// host's interfaces.
        #[setting(flag = "advertise-addr", kind = Kind::Address, default = "")]
        pub advertise_addr: Option<IpAddr>,
        /// Port at which others reach this member; 0 for the one listened on.
        #[setting(flag = "advertise-port", kind = Kind::Port, default = "0")]
        pub advertise_port: u16,
        /// Name of this member, at most 100 bytes; empty for the host's name.
        #[setting(flag = "nodename", kind = Kind::Text, default = "")]
        pub node_name: String,
        /// Append random characters to the name, so that no two members have the same.
        #[setting(flag = "randomize-node-name", kind = Kind::Bool, default = "true")]
        pub randomize_node_name: bool,
        /// Sent with every packet; packets with another label are dropped, so that two fleets that
        /// reach each other stay apart. At most 255 bytes, the same on all members.
        #[setting(flag = "cluster-label", kind = Kind::Text, default = "")]
        pub cluster_label: String,
        /// Accept packets with any label, for the time in which a label is introduced in a running
        /// fleet.
        #[setting(
            flag = "cluster-label-verification-disabled",
            kind = Kind::Bool,
            default = "false"
        )]
        pub cluster_label_verification_disabled: bool,
        /// Time between two rounds of gossip, from 10ms to 10s; shorter spreads an election faster
        /// and costs more packets.
        #[setting(flag = "gossip-interval", kind = Kind::Duration, default = "200ms")]
        pub gossip_interval: Duration,
        /// Members that each round of gossip goes to, at most 100; always 3 with the protocol
        /// chitchat.
        #[setting(flag = "gossip-nodes", kind = Kind::Unsigned, default = "3", nonzero)]
        pub gossip_nodes: u64,
        /// Time between two exchanges of the whole state with a member, 0s for none. Only for the
        /// protocol memberlist, as chitchat compares the whole state in each round.
        #[setting(flag = "pullpush-interval", kind = Kind::Duration, default = "30s")]
        pub pull_push_interval: Duration,
        /// How long members that are dead are still gossiped to, so that one that is not learns of
        /// it. Only for the protocol memberlist.
        #[setting(flag = "gossip-to-dead-nodes-time", kind = Kind::Duration, default = "30s")]
        pub gossip_to_dead_nodes_time: Duration,
        /// How soon the name of a dead member may be used at another address; 0s for not before it is
        /// forgotten. Only for the protocol memberlist.
        #[setting(flag = "dead-node-reclaim-time", kind = Kind::Duration, default = "0s")]
        pub dead_node_reclaim_time: Duration,
        /// How often a message is repeated, times the decimal digits of the number of members; at
        /// most 100. Only for the protocol memberlist.
        #[setting(flag = "retransmit-factor", kind = Kind::Unsigned, default = "4", nonzero)]
        pub retransmit_factor: u64,
        /// How long each direction of an exchange of the whole state may take. Only for the protocol
        /// memberlist.
        #[setting(flag = "stream-timeout", kind = Kind::Duration, default = "2s", nonzero)]
        pub stream_timeout: Duration,
        /// How long connecting to a member may take for a packet. Only for the protocol memberlist.
        #[setting(flag = "packet-dial-timeout", kind = Kind::Duration, default = "2s", nonzero)]
        pub packet_dial_timeout: Duration,
        /// How long writing a packet, or reading one, may take. Only for the protocol memberlist.
        #[setting(flag = "packet-write-timeout", kind = Kind::Duration, default = "5s", nonzero)]
        pub packet_write_timeout: Duration,
        /// How often the addresses of join_members that are not known as members are contacted at
        /// run time, which heals a fleet after a long partition; 0 for every max_join_backoff.
        #[setting(flag = "rejoin-interval", kind = Kind::Duration, default = "0s")]
        pub rejoin_interval: Duration,
        /// Members to contact at run time instead of join_members, in the same forms, once this one
        /// has joined; empty for join_members.
        #[setting(flag = "rejoin-seed-nodes", kind = Kind::List, default = "")]
        pub rejoin_seed_nodes: Vec<String>,
        /// Pause after the first failed attempt to join; it doubles with each further one.
        #[setting(flag = "min-join-backoff", kind = Kind::Duration, default = "1s")]
        pub min_join_backoff: Duration,
        /// Longest pause between two attempts to join; at least min_join_backoff.
        #[setting(flag = "max-join-backoff", kind = Kind::Duration, default = "1m")]
        pub max_join_backoff: Duration,
        /// Attempts to join before abort_if_cluster_join_fails applies; 0 for no limit.
        #[setting(flag = "max-join-retries", kind = Kind::Unsigned, default = "10")]
        pub max_join_retries: u64,
        /// Exit when no member could be joined after all attempts, instead of going on alone.
        #[setting(flag = "abort-if-join-fails", kind = Kind::Bool, default = "false")]
        pub abort_if_cluster_join_fails: bool,
        /// Exit when no member could be joined at the first attempt.
        #[setting(flag = "abort-if-fast-join-fails", kind = Kind::Bool, default = "false")]
        pub abort_if_cluster_fast_join_fails: bool,
        /// Members that must be known after the first attempt, this one included, if
        /// abort_if_cluster_fast_join_fails.
        #[setting(
            flag = "abort-if-fast-join-fails-min-nodes",
            kind = Kind::Unsigned,
            default = "2"
        )]
        pub abort_if_cluster_fast_join_fails_min_nodes: u64,
        /// How long leaving may take at shutdown, the last rounds of gossip included.
        #[setting(flag = "leave-timeout", kind = Kind::Duration, default = "20s")]
        pub leave_timeout: Duration,
        /// How long a member that has left, or is dead, is remembered.
        #[setting(flag = "left-ingesters-timeout", kind = Kind::Duration, default = "5m")]
        pub left_ingesters_timeout: Duration,
        /// How long the tombstone of a deleted entry is kept (longer while members that are gone
        /// are remembered). An own copy that another member's copy has replaced is kept half as
        /// long.
        #[setting(flag = "obsolete-entries-timeout", kind = Kind::Duration, default = "30s")]
        pub obsolete_entries_timeout: Duration,
        /// Bytes of sent, and as many of received, messages with entries to keep for the page
        /// /memberlist; at most 64MiB. 0 for none.
        #[setting(flag = "message-history-buffer-bytes", kind = Kind::Size, default = "0")]
        pub message_history_buffer_bytes: u64,
        /// Packets that are written at the same time, at most 1000. Only for the protocol memberlist.
        #[setting(flag = "max-concurrent-writes", kind = Kind::Unsigned, default = "5", nonzero)]
        pub max_concurrent_writes: u64,
        /// How long a packet waits until it can be written; then it is dropped, and gossip repeats it.
        /// Only for the protocol memberlist.
        #[setting(
            flag = "acquire-writer-timeout",
            kind = Kind::Duration,
            default = "250ms",
            nonzero
        )]
        pub acquire_writer_timeout: Duration,
        /// Least time between two deliveries of changes to the HA tracker, which saves CPU where very
        /// many clusters change; 0s for each change at once.
        #[setting(flag = "notify-interval", kind = Kind::Duration, default = "0s")]
        pub notify_interval: Duration,
        /// What is compressed with, if compression_enabled: lzw, or snappy, which costs less CPU and
        /// which only members of 2026 and later read. Only for the protocol memberlist; any is read.
        #[setting(
            flag = "compression-algorithm",
            kind = Kind::OneOf(CompressionAlgorithm::WORDS),
            default = "lzw"
        )]
        pub compression_algorithm: CompressionAlgorithm,
        /// Compress what gossip has not compressed already.
        #[setting(flag = "compression-enabled", kind = Kind::Bool, default = "true")]
        pub compression_enabled: bool,
        /// Keys of the gossip, at most 8, each in base64 or as the path of a file that contains
        /// one. The first encrypts, all decrypt. Without keys, any host that can reach the port can
        /// read and change elections. Not a setting of Mimir.
        #[setting(flag = "encryption-keys", kind = Kind::List, default = "", secret)]
        pub encryption_keys: Vec<Secret>,
        /// Refuse to start without encryption_keys, so that a list that is empty by mistake does
        /// not leave the gossip unprotected. Not a setting of Mimir.
        #[setting(flag = "encryption-required", kind = Kind::Bool, default = "false")]
        pub encryption_required: bool,
        /// Encrypt connections with TLS; the same on all members. Only for the protocol memberlist:
        /// chitchat is encrypted by encryption_keys.
        #[setting(flag = "tls-enabled", kind = Kind::Bool, default = "false")]
        pub tls_enabled: bool,
        /// PEM certificate of this member, for connections from others and to them.
        #[setting(flag = "tls-cert-path", kind = Kind::Path, default = "")]
        pub tls_cert_path: Option<PathBuf>,
        /// PEM key of that certificate.
        #[setting(flag = "tls-key-path", kind = Kind::Path, default = "")]
        pub tls_key_path: Option<PathBuf>,
        /// PEM certificates of the authorities of the members' certificates; empty for those of the
        /// system.
        #[setting(flag = "tls-ca-path", kind = Kind::Path, default = "")]
        pub tls_ca_path: Option<PathBuf>,
        /// Name in the members' certificates; empty for the address that is connected to.
        #[setting(flag = "tls-server-name", kind = Kind::Text, default = "")]
        pub tls_server_name: Option<String>,
        /// Accept any certificate of a member: no protection from a host in between.
        #[setting(flag = "tls-insecure-skip-verify", kind = Kind::Bool, default = "false")]
        pub tls_insecure_skip_verify: bool,
        /// Least version of TLS: VersionTLS10 to VersionTLS13; empty for VersionTLS12. Versions
        /// before 1.2 are not supported, and allow the same as 1.2.
        #[setting(flag = "tls-min-version", kind = Kind::Text, default = "")]
        pub tls_min_version: String,
        /// Cipher suites of TLS 1.2, with their IANA names, separated by commas; empty for all that
        /// are supported. Those of TLS 1.3 are not limited.
        #[setting(flag = "tls-cipher-suites", kind = Kind::Text, default = "")]
        pub tls_cipher_suites: String,
        ;
        /// Time between two probes of other members, with the protocol memberlist. Not configured, as
        /// with dskit, whose 5 s it is; tests have less of it.
        #[serde(skip, default = "probe_interval")]
        pub probe_interval: Duration = probe_interval(),
    }
}

/// As with dskit.
fn probe_interval() -> Duration {
    Duration::from_secs(5)
}

impl MemberlistConfig {
    /// A member at this address, which joins these others (`host:port`, `dns+host:port`, …) while any
    /// of them runs; else it begins alone, and keeps looking for them every second. Otherwise the
    /// defaults.
    pub fn bound_to(
        address: SocketAddr,
        join_members: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            bind_addr: vec![address.ip()],
            bind_port: address.port(),
            join_members: join_members.into_iter().map(Into::into).collect(),
            rejoin_interval: Duration::from_secs(1),
            ..Self::default()
        }
    }

    /// The rules about the values. Does not read files: whether the keys exist is checked at the
    /// start.
    pub fn check(&self, report: &mut Report<'_>) {
        self.check_nonzero(report);
        for (index, member) in self.join_members.iter().enumerate() {
            if let Err(error) = check_join_member(member) {
                let problem = format!("got {:?}; {}", error.entry, error.problem);
                report.bad_item("join_members", index, problem);
            }
        }
        for (index, member) in self.rejoin_seed_nodes.iter().enumerate() {
            if let Err(error) = check_join_member(member) {
                let problem = format!("got {:?}; {}", error.entry, error.problem);
                report.bad_item("rejoin_seed_nodes", index, problem);
            }
        }
        report.at_most_bytes("node_name", &self.node_name, MAX_NODE_NAME);
        if !self.node_name.is_empty() && !is_showable(&self.node_name) {
            report.bad(
                "node_name",
                "has a control character, an invisible character, or one that changes the \
                 writing direction",
            );
        }
        report.at_most_bytes("cluster_label", &self.cluster_label, MAX_LABEL);
        let intervals = SHORTEST_INTERVAL..=LONGEST_INTERVAL;
        report.duration("gossip_interval", self.gossip_interval, intervals);
        report.more_than_zero("min_join_backoff", self.min_join_backoff);
        report.more_than_zero("left_ingesters_timeout", self.left_ingesters_timeout);
        report.more_than_zero("obsolete_entries_timeout", self.obsolete_entries_timeout);
        self.check_backoff(report);
        if self.message_history_buffer_bytes > MAX_HISTORY {
            let bytes = self.message_history_buffer_bytes;
            let problem = format!("got {bytes} bytes; must be at most 64MiB");
            report.bad("message_history_buffer_bytes", problem);
        }
        self.check_keys(report);
        self.check_protocol(report);
    }

    /// What only one of the protocols has.
    fn check_protocol(&self, report: &mut Report<'_>) {
        for (setting, value) in [
            ("gossip_nodes", self.gossip_nodes),
            ("retransmit_factor", self.retransmit_factor),
        ] {
            if value > MOST_REPETITIONS {
                let problem = format!("got {value}; must be at most {MOST_REPETITIONS}");
                report.bad(setting, problem);
            }
        }
        if self.max_concurrent_writes > MOST_WRITES {
            let problem = format!(
                "got {}; must be at most {MOST_WRITES}",
                self.max_concurrent_writes
            );
            report.bad("max_concurrent_writes", problem);
        }
        match self.protocol {
            Protocol::Chitchat if self.tls_enabled => {
                let problem = format!(
                    "got true; with {} chitchat, gossip is encrypted with {}, not TLS: set these on \
                     all members, and remove this",
                    report.path("protocol"),
                    report.path("encryption_keys")
                );
                report.bad("tls_enabled", problem);
            }
            Protocol::Memberlist if !self.encryption_keys.is_empty() => {
                let problem = format!(
                    "got keys, which are not shown; Mimir's members have none, so with {} \
                     memberlist, gossip is encrypted with {}: set that on all members, and remove \
                     these",
                    report.path("protocol"),
                    report.path("tls_enabled")
                );
                report.bad("encryption_keys", problem);
            }
            Protocol::Auto if self.tls_enabled && !self.encryption_keys.is_empty() => {
                let problem = format!(
                    "got true, but {} has keys: TLS is for memberlist, and the keys are for chitchat; \
                     remove one of the two",
                    report.path("encryption_keys")
                );
                report.bad("tls_enabled", problem);
            }
            Protocol::Auto | Protocol::Chitchat | Protocol::Memberlist => {}
        }
        self.check_tls(report);
    }

    fn check_tls(&self, report: &mut Report<'_>) {
        let (cert, key) = (&self.tls_cert_path, &self.tls_key_path);
        report.pair(
            ("tls_cert_path", cert.is_some()),
            ("tls_key_path", key.is_some()),
        );
        if let Err(error) = TlsLimits::parse(&self.tls_min_version, "") {
            report.bad("tls_min_version", error.to_string());
        }
        if let Err(error) = TlsLimits::parse("", &self.tls_cipher_suites) {
            report.bad("tls_cipher_suites", error.to_string());
        }
        let is_used = self.tls_enabled && self.protocol != Protocol::Chitchat;
        if is_used && cert.is_none() && report.accepted(&["tls_cert_path"]) {
            let problem = format!(
                "got nothing, but {} is true: other members connect to this one, so it needs a \
                 certificate",
                report.path("tls_enabled")
            );
            report.bad("tls_cert_path", problem);
        }
        if !self.tls_enabled && (cert.is_some() || self.tls_ca_path.is_some()) {
            let (path, tls) = (report.path("tls_cert_path"), report.path("tls_enabled"));
            report.warn(format!(
                "{path} and what belongs to it have no effect while {tls} is false"
            ));
        }
    }

    fn check_backoff(&self, report: &mut Report<'_>) {
        let (min, max) = (self.min_join_backoff, self.max_join_backoff);
        if max < min && report.accepted(&["min_join_backoff", "max_join_backoff"]) {
            let problem = format!(
                "got {}; must be at least {}",
                format_duration(max),
                report.described("min_join_backoff", format_duration(min))
            );
            report.bad_together(&["max_join_backoff", "min_join_backoff"], problem);
        }
    }

    fn check_keys(&self, report: &mut Report<'_>) {
        let keys = self.encryption_keys.len();
        if self.encryption_required && keys == 0 && report.accepted(&["encryption_keys"]) {
            let problem = format!(
                "got true, but there are no {}; add one, or remove this",
                report.path("encryption_keys")
            );
            report.bad("encryption_required", problem);
        }
        if keys > MAX_KEYS {
            let problem = format!("got {keys} keys; must be at most {MAX_KEYS}");
            report.bad("encryption_keys", problem);
        }
        for (index, key) in self.encryption_keys.iter().enumerate() {
            let length = key.expose().len();
            if key.expose().trim().is_empty() {
                let problem =
                    "got nothing; must be a key in base64, or the path of a file that contains one";
                report.bad_item("encryption_keys", index, problem);
            } else if length > MAX_KEY_TEXT {
                let problem = format!(
                    "got {length} bytes, which are not shown; must be at most {MAX_KEY_TEXT}"
                );
                report.bad_item("encryption_keys", index, problem);
            }
        }
    }

    /// The keys; those given as files are read.
    ///
    /// # Errors
    /// The first key that is not valid.
    pub fn keyring(&self) -> Result<Keyring, KeyError> {
        let keys: Vec<&str> = self.encryption_keys.iter().map(Secret::expose).collect();
        Keyring::parse(&keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_keep_the_rules() {
        let mut report = Report::default();
        MemberlistConfig::default().check(&mut report);
        assert_eq!(report.into_result(), Ok(()));
    }

    #[test]
    fn help_names_the_bounds() {
        for (setting, bounds) in [
            ("node_name", format!("at most {MAX_NODE_NAME} bytes")),
            ("max_concurrent_writes", format!("at most {MOST_WRITES}")),
            ("cluster_label", format!("At most {MAX_LABEL} bytes")),
            ("encryption_keys", format!("at most {MAX_KEYS},")),
            (
                "message_history_buffer_bytes",
                format!("at most {}MiB", MAX_HISTORY >> 20),
            ),
            (
                "gossip_interval",
                format!(
                    "from {} to {}",
                    format_duration(SHORTEST_INTERVAL),
                    format_duration(LONGEST_INTERVAL)
                ),
            ),
        ] {
            let mut rows = MemberlistConfig::SETTINGS.iter();
            let row = rows.find(|row| row.path == setting).unwrap();
            assert!(row.help.contains(&bounds), "{}: {bounds}", row.help);
        }
    }

    #[test]
    fn tls_and_keys_exclude_each_other() {
        let both = MemberlistConfig {
            tls_enabled: true,
            encryption_keys: vec![Secret::new("k")],
            ..MemberlistConfig::default()
        };
        let mut report = Report::default();
        both.check(&mut report);
        let mistakes = report.into_result().unwrap_err().to_string();
        assert!(
            mistakes.contains("tls_enabled: got true, but encryption_keys has keys"),
            "{mistakes}"
        );
    }

    #[test]
    fn keys_can_be_required() {
        let with = |keys: &[&str]| {
            let config = MemberlistConfig {
                encryption_required: true,
                encryption_keys: keys.iter().copied().map(Secret::new).collect(),
                ..MemberlistConfig::default()
            };
            let mut report = Report::default();
            config.check(&mut report);
            report
                .into_result()
                .map_err(|mistakes| mistakes.to_string())
        };
        assert_eq!(with(&["/etc/gossip.key"]), Ok(()));
        assert_eq!(
            with(&[]).unwrap_err(),
            "encryption_required: got true, but there are no encryption_keys; add one, or remove this"
        );
    }

    #[test]
    fn without_an_application_names_are_relative() {
        let config = MemberlistConfig {
            node_name: "a\u{202e}b".to_owned(),
            min_join_backoff: Duration::from_secs(90),
            protocol: Protocol::Chitchat,
            tls_enabled: true,
            tls_min_version: "1.2".to_owned(),
            tls_cipher_suites: "TLS_RSA_WITH_RC4_128_SHA".to_owned(),
            rejoin_seed_nodes: vec!["a:x".to_owned()],
            max_concurrent_writes: 1001,
            ..MemberlistConfig::default()
        };
        let mut report = Report::default();
        config.check(&mut report);
        let mistakes = report.into_result().unwrap_err().to_string();
        let part = "node_name: has a control character";
        assert!(mistakes.contains(part), "{mistakes}");
        for part in [
            "max_join_backoff: got 1m0s; must be at least min_join_backoff 1m30s; ",
            "tls_enabled: got true; with protocol chitchat, gossip is encrypted with encryption_keys",
            "tls_min_version: got \"1.2\"; must be one of VersionTLS10",
            "tls_cipher_suites: got \"TLS_RSA_WITH_RC4_128_SHA\", which is not supported",
            "rejoin_seed_nodes[0]: got \"a:x\"",
            "max_concurrent_writes: got 1001; must be at most 1000",
        ] {
            assert!(mistakes.contains(part), "{mistakes}");
        }
    }
}
