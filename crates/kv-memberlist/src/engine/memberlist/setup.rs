//! From the settings of a member to its engine.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use kv_core::Tasks;
use memberlist_protocol::codec::{Compression, Label, Wire};
use memberlist_protocol::membership::Config;
use memberlist_protocol::message::Addr;
use rand::rngs::StdRng;
use rustls::ServerConfig;
use tls_files::{ClientFiles, ReloadingClient, ReloadingIdentity, TlsError, TlsLimits};
use watched_files::Reload;

use super::engine::{self, Parts};
use super::net::Sockets;
use super::options::{Timeouts, Tls};
use crate::clock::LONGEST;
use crate::config::{CompressionAlgorithm, MemberlistConfig};
use crate::engine::{Engine, EntrySink};
use crate::metrics::Metrics;

/// Members that are remembered, at most.
const MAX_NODES: usize = 10_000;

/// Why TLS between members cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
#[non_exhaustive]
pub enum TlsSetupError {
    /// A file cannot be used.
    Files(#[from] TlsError),
    /// No protocol version is left.
    Versions(#[from] rustls::Error),
}

/// What an engine is given besides settings.
pub(crate) struct Surroundings {
    pub(crate) name: String,
    /// Where other members reach this one.
    pub(crate) advertised: SocketAddr,
    pub(crate) sockets: Sockets,
    /// What the member draws comes from it.
    pub(crate) rng: StdRng,
    /// Of the values.
    pub(crate) codec: &'static str,
    pub(crate) sink: Arc<dyn EntrySink>,
    pub(crate) metrics: Metrics,
    /// Of the connections between members.
    pub(crate) tls: Option<Tls>,
}

/// Starts to take part in the ring. The tasks that this takes are added to those of the member.
pub(crate) fn start(
    config: &MemberlistConfig,
    surroundings: Surroundings,
    tasks: &mut Tasks,
) -> Arc<dyn Engine> {
    let Surroundings {
        name,
        advertised,
        sockets,
        rng,
        codec,
        sink,
        metrics,
        tls,
    } = surroundings;
    let wire = Wire {
        // The check of the settings has bounded it.
        label: Label::new(config.cluster_label.clone()).unwrap_or_default(),
        any_label: config.cluster_label_verification_disabled,
        ..Wire::default()
    };
    let parts = Parts {
        node: node(config, name, advertised),
        advertised,
        sockets,
        rng,
        wire,
        compression: compression(config),
        writers: usize::try_from(config.max_concurrent_writes).unwrap_or(usize::MAX),
        timeouts: Timeouts {
            dial: config.packet_dial_timeout,
            packet: config.packet_write_timeout,
            stream: config.stream_timeout.min(LONGEST),
            writer: config.acquire_writer_timeout,
        },
        tls,
        codec,
        keep_tombstones: config.obsolete_entries_timeout,
        history_bytes: usize::try_from(config.message_history_buffer_bytes).unwrap_or(usize::MAX),
        sink,
        metrics,
    };
    engine::start(parts, tasks)
}

fn node(config: &MemberlistConfig, name: String, advertised: SocketAddr) -> Config {
    let addr = advertised_addr(config, advertised.ip());
    let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Config {
        probe_interval: config.probe_interval,
        // Of dskit's 5 s, 2 s.
        probe_timeout: config.probe_interval * 2 / 5,
        gossip_interval: config.gossip_interval,
        gossip_nodes: small(config.gossip_nodes) as usize,
        gossip_to_dead: config.gossip_to_dead_nodes_time,
        reclaim_after: config.dead_node_reclaim_time,
        retransmit_factor: small(config.retransmit_factor),
        push_pull_interval: config.pull_push_interval,
        max_nodes: MAX_NODES,
        ..Config::new(name, addr, advertised.port())
    }
}

/// What is compressed with; `None` for nothing.
fn compression(config: &MemberlistConfig) -> Option<Compression> {
    config
        .compression_enabled
        .then_some(match config.compression_algorithm {
            CompressionAlgorithm::Lzw => Compression::Lzw,
            CompressionAlgorithm::Snappy => Compression::Snappy,
        })
}

/// The address in the width that dskit's members give theirs with the same settings: 4 bytes for one
/// that is listened on, and 16 for one that is set or found. A member that comes back under its name
/// must have the same.
fn advertised_addr(config: &MemberlistConfig, ip: IpAddr) -> Addr {
    let is_listened_on = config.advertise_addr.is_none() && config.bind_addr.first() == Some(&ip);
    match ip {
        IpAddr::V4(ip) if is_listened_on => Addr::V4(ip.octets()),
        IpAddr::V4(ip) => Addr::V16(ip.to_ipv6_mapped().octets()),
        IpAddr::V6(ip) => Addr::V16(ip.octets()),
    }
}

/// TLS, and its files to be read again.
type TlsAndFiles = (Tls, Arc<dyn Reload>);

/// TLS between members, and its files; `None` if it is off.
///
/// # Errors
/// It cannot be set up.
pub(crate) fn tls(config: &MemberlistConfig) -> Result<Option<TlsAndFiles>, TlsSetupError> {
    let (true, Some(cert), Some(key)) = (
        config.tls_enabled,
        &config.tls_cert_path,
        &config.tls_key_path,
    ) else {
        return Ok(None);
    };
    // The check of the settings has parsed them.
    let limits = TlsLimits::parse(&config.tls_min_version, &config.tls_cipher_suites);
    let limits = limits.unwrap_or_default();
    let files = ClientFiles {
        ca_file: config.tls_ca_path.as_deref(),
        cert_file: Some(cert),
        key_file: Some(key),
        server_name: config.tls_server_name.as_deref(),
        accepts_any: config.tls_insecure_skip_verify,
    };
    let (client_files, mut client) = ReloadingClient::limited(&files, &limits)?;
    // Each connection is for one message: what would serve later ones is not kept.
    client.resumption = rustls::client::Resumption::disabled();
    let provider = Arc::new(limits.provider());
    let identity = ReloadingIdentity::new(cert, key, &provider)?;
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(limits.versions())?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&identity) as _);
    // A client that closes after its packet, with tickets unread, resets the connection, and what it
    // has sent may be lost.
    server.send_tls13_tickets = 0;
    let tls = Tls {
        client: Arc::new(client),
        server: Arc::new(server),
    };
    let files = BothSides {
        client: client_files,
        server: identity,
    };
    Ok(Some((tls, Arc::new(files))))
}

/// A member is client and server with the same certificate.
struct BothSides {
    client: Arc<ReloadingClient>,
    server: Arc<ReloadingIdentity>,
}

impl Reload for BothSides {
    fn files(&self) -> Vec<PathBuf> {
        self.client.files()
    }

    fn reload(&self) -> Result<(), String> {
        self.client.reload()?;
        self.server.reload()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn addresses_have_the_width_that_dskit_gives_them() {
        let width = |bind: &str, advertise: Option<&str>, advertised: &str| {
            let config = MemberlistConfig {
                bind_addr: vec![bind.parse().unwrap()],
                advertise_addr: advertise.map(|ip| ip.parse().unwrap()),
                ..MemberlistConfig::default()
            };
            let addr = advertised_addr(&config, advertised.parse().unwrap());
            assert_eq!(addr.ip().to_string(), advertised);
            addr.as_bytes().len()
        };
        assert_eq!(width("10.0.0.1", None, "10.0.0.1"), 4);
        assert_eq!(width("0.0.0.0", None, "10.0.0.1"), 16);
        assert_eq!(width("10.0.0.1", Some("10.0.0.1"), "10.0.0.1"), 16);
        assert_eq!(width("fd00::1", None, "fd00::1"), 16);
    }

    #[test]
    fn what_is_sent_is_compressed_as_configured() {
        let with = |compression_enabled, compression_algorithm| {
            compression(&MemberlistConfig {
                compression_enabled,
                compression_algorithm,
                ..MemberlistConfig::default()
            })
        };
        assert_eq!(
            compression(&MemberlistConfig::default()),
            Some(Compression::Lzw)
        );
        let snappy = CompressionAlgorithm::Snappy;
        assert_eq!(with(true, snappy), Some(Compression::Snappy));
        assert_eq!(with(false, snappy), None);
    }

    #[test]
    fn settings_reach_the_node() {
        let config = MemberlistConfig {
            gossip_nodes: 5,
            retransmit_factor: 6,
            pull_push_interval: Duration::from_secs(7),
            ..MemberlistConfig::default()
        };
        let node = node(&config, "name".into(), "10.0.0.1:7946".parse().unwrap());
        assert_eq!((node.gossip_nodes, node.retransmit_factor), (5, 6));
        assert_eq!(node.push_pull_interval, Duration::from_secs(7));
        assert_eq!((&*node.name, node.port), ("name", 7946));
    }
}
