//! Metrics of a member. Names are those of Mimir's memberlist client.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::link::foreign::ForeignProtocol;
use crate::seal::refusal::Refusal;

/// The reason of an invalid entry in a valid packet.
pub(crate) const BAD_ENTRY: &str = "entry";

/// The reason of a connection for which there was no place.
pub(crate) const TOO_MANY_CONNECTIONS: &str = "connections";

/// Why a packet was refused or dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    pub(crate) reason: &'static str,
}

/// What a packet was that is none of this gossip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Spoken {
    pub(crate) protocol: &'static str,
}

/// The codec of the keys that a gauge of tombstones counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Key {
    pub(crate) key: &'static str,
}

/// A queue of messages that are to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Queue {
    pub(crate) queue: &'static str,
}

/// The metrics of one member.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// Members that are alive, this one included.
    pub(crate) members: Gauge,
    pub(crate) health_score: Gauge,
    /// Datagrams that arrived.
    pub(crate) datagrams_received: Counter,
    pub(crate) datagram_bytes_received: Counter,
    /// Packets that were refused after they had arrived completely.
    pub(crate) invalid: Counter,
    /// Packets, in either direction, that were dropped because a queue was full.
    pub(crate) dropped: Counter,
    /// Packets sent over a stream.
    pub(crate) stream_sent: Counter,
    pub(crate) stream_bytes_sent: Counter,
    /// Packets received over a stream.
    pub(crate) stream_received: Counter,
    pub(crate) stream_bytes_received: Counter,
    pub(crate) datagrams_sent: Counter,
    pub(crate) datagram_bytes_sent: Counter,
    /// With chitchat, packets that wait for a stream; with memberlist, changes of this member's that
    /// are to be sent.
    pub(crate) queued: Gauge,
    /// With memberlist, changes of others that are to be repeated.
    pub(crate) queued_gossip: Gauge,
    queues: Family<Queue, Gauge>,
    pub(crate) queued_bytes: Gauge,
    pub(crate) cas_attempts: Counter,
    pub(crate) cas_successes: Counter,
    pub(crate) cas_failures: Counter,
    pub(crate) keys: Gauge,
    /// Changes that watchers have not taken yet.
    pub(crate) pending_notifications: Gauge,
    pub(crate) tombstones: Family<Key, Gauge>,
    pub(crate) tombstones_removed: Family<Key, Counter>,
    /// Changes that cannot be encoded, or are too large.
    pub(crate) unsendable: Counter,
    pub(crate) refused: Family<Reason, Counter>,
    /// Of those refused as not ours, what they were.
    pub(crate) foreign: Family<Spoken, Counter>,
    pub(crate) adopted: Counter,
    pub(crate) superseded: Counter,
    pub(crate) restarts: Counter,
    /// Packets without a proof of their sender address.
    pub(crate) unproven: Counter,
    /// Incoming connections that were closed to make room for others.
    pub(crate) displaced: Counter,
    /// Snapshots made for joiners, and the parts sent.
    pub(crate) snapshots: Counter,
    pub(crate) snapshot_parts: Counter,
    pub(crate) snapshot_bytes: Counter,
    pub(crate) propagation: Histogram,
    /// Of the protocol memberlist.
    pub(crate) packets: Packets,
}

/// Connections of the protocol memberlist, named and counted as dskit's transport does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Packets {
    pub(crate) sent: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) sent_errors: Counter,
    pub(crate) dropped: Counter,
    pub(crate) received: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) received_errors: Counter,
    pub(crate) incoming_streams: Counter,
    pub(crate) outgoing_streams: Counter,
    pub(crate) outgoing_stream_errors: Counter,
    pub(crate) unknown_connections: Counter,
    /// All bytes of connections, before TLS.
    pub(crate) all_sent_bytes: Counter,
    pub(crate) all_received_bytes: Counter,
}

impl Packets {
    fn register(&self, registry: &mut Registry) {
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            let name = format!("memberlist_tcp_transport_{name}");
            registry.register(name, help, counter.clone());
        };
        self.register_packets(&mut counter);
        counter(
            "incoming_streams",
            "Exchanges of states, and checks of this member, that others began (protocol memberlist)",
            &self.incoming_streams,
        );
        counter(
            "outgoing_streams",
            "Exchanges of states that this member began (protocol memberlist)",
            &self.outgoing_streams,
        );
        counter(
            "outgoing_stream_errors",
            "Exchanges of states for which no connection could be made (protocol memberlist)",
            &self.outgoing_stream_errors,
        );
        counter(
            "unknown_connections",
            "Connections that begin neither as a packet nor as a stream (protocol memberlist)",
            &self.unknown_connections,
        );
        counter(
            "sent_bytes",
            "Bytes sent over all connections, before TLS (protocol memberlist)",
            &self.all_sent_bytes,
        );
        counter(
            "received_bytes",
            "Bytes received over all connections, after TLS (protocol memberlist)",
            &self.all_received_bytes,
        );
    }

    fn register_packets(&self, counter: &mut impl FnMut(&str, &str, &Counter)) {
        counter(
            "packets_sent",
            "Packets for which a connection was begun (protocol memberlist)",
            &self.sent,
        );
        counter(
            "packets_sent_bytes",
            "Bytes of these packets, without their frames (protocol memberlist)",
            &self.sent_bytes,
        );
        counter(
            "packets_sent_errors",
            "Of these packets, those that could not be sent; gossip repeats them (protocol memberlist)",
            &self.sent_errors,
        );
        counter(
            "packets_dropped",
            "Packets that were not sent because too many waited; gossip repeats them (protocol \
             memberlist)",
            &self.dropped,
        );
        counter(
            "packets_received",
            "Packets that began to arrive (protocol memberlist)",
            &self.received,
        );
        counter(
            "packets_received_bytes",
            "Bytes of the packets that arrived, without their frames (protocol memberlist)",
            &self.received_bytes,
        );
        counter(
            "packets_received_errors",
            "Packets that did not arrive as they were sent (protocol memberlist)",
            &self.received_errors,
        );
    }
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::new();
        metrics.register_gauges(registry);
        metrics.register_traffic(registry);
        metrics.register_entries(registry);
        metrics.register_protection(registry);
        metrics.register_families(registry);
        metrics.packets.register(registry);
        metrics
    }

    fn new() -> Self {
        let queues = Family::<Queue, Gauge>::default();
        let queue = |queue| queues.get_or_create(&Queue { queue }).clone();
        Self {
            members: Gauge::default(),
            health_score: Gauge::default(),
            datagrams_received: Counter::default(),
            datagram_bytes_received: Counter::default(),
            invalid: Counter::default(),
            dropped: Counter::default(),
            stream_sent: Counter::default(),
            stream_bytes_sent: Counter::default(),
            stream_received: Counter::default(),
            stream_bytes_received: Counter::default(),
            datagrams_sent: Counter::default(),
            datagram_bytes_sent: Counter::default(),
            queued: queue("local"),
            queued_gossip: queue("gossip"),
            queued_bytes: Gauge::default(),
            cas_attempts: Counter::default(),
            cas_successes: Counter::default(),
            cas_failures: Counter::default(),
            keys: Gauge::default(),
            pending_notifications: Gauge::default(),
            tombstones: Family::default(),
            tombstones_removed: Family::default(),
            unsendable: Counter::default(),
            refused: Family::default(),
            foreign: Family::default(),
            adopted: Counter::default(),
            superseded: Counter::default(),
            restarts: Counter::default(),
            unproven: Counter::default(),
            displaced: Counter::default(),
            snapshots: Counter::default(),
            snapshot_parts: Counter::default(),
            snapshot_bytes: Counter::default(),
            propagation: Histogram::new([
                0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0,
            ]),
            packets: Packets::default(),
            queues,
        }
    }

    fn register_gauges(&self, registry: &mut Registry) {
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| {
            registry.register(format!("memberlist_client_{name}"), help, gauge.clone());
        };
        gauge(
            "cluster_members_count",
            "Members of the gossip cluster that are alive, this one included",
            &self.members,
        );
        gauge(
            "cluster_node_health_score",
            "0 is healthy, 8 the worst. Chitchat: how many gossip intervals late this member's \
             background task is. Memberlist: grows when its probes get no answer or others suspect it",
            &self.health_score,
        );
        gauge(
            "messages_in_broadcast_queue_bytes",
            "Bytes of what waits to be sent, see messages_in_broadcast_queue",
            &self.queued_bytes,
        );
        gauge(
            "kv_store_count",
            "Keys known to this member, deleted ones excluded",
            &self.keys,
        );
        gauge(
            "pending_key_notifications",
            "Changes of keys that watches have not delivered yet: with notify_interval, they wait for its \
             end. None is ever dropped",
            &self.pending_notifications,
        );
    }

    /// Metrics of traffic.
    fn register_traffic(&self, registry: &mut Registry) {
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(format!("memberlist_client_{name}"), help, counter.clone());
        };
        counter(
            "received_broadcasts",
            "Chitchat: UDP packets received. Memberlist: changes of entries received in packets",
            &self.datagrams_received,
        );
        counter(
            "received_broadcasts_bytes",
            "Bytes of these packets, or changes",
            &self.datagram_bytes_received,
        );
        counter(
            "received_broadcasts_invalid",
            "Chitchat: packets, over UDP or TCP, that were refused. Memberlist: changes of entries that \
             could not be read",
            &self.invalid,
        );
        counter(
            "received_broadcasts_dropped",
            "Chitchat: packets, in either direction, dropped because a queue was full or they had waited \
             in it for too long; gossip repeats them. Memberlist: none, changes are merged as they arrive",
            &self.dropped,
        );
        counter(
            "sent_broadcasts",
            "Chitchat: UDP packets sent. Memberlist: changes of entries sent in packets",
            &self.datagrams_sent,
        );
        counter(
            "sent_broadcasts_bytes",
            "Bytes of these packets, or changes",
            &self.datagram_bytes_sent,
        );
        counter(
            "state_pushes",
            "Chitchat: packets sent over TCP, which carries what is too large for UDP. Memberlist: how \
             often all entries were sent to a member",
            &self.stream_sent,
        );
        counter(
            "state_pushes_bytes",
            "Bytes of these packets, or of all entries",
            &self.stream_bytes_sent,
        );
        counter(
            "state_pulls",
            "Chitchat: packets received over TCP. Memberlist: how often all entries of a member were \
             received",
            &self.stream_received,
        );
        counter(
            "state_pulls_bytes",
            "Bytes of these packets, or of all entries",
            &self.stream_bytes_received,
        );
        counter(
            "messages_to_broadcast_dropped",
            "Memberlist: packets that could not be encoded, or are too large to be sent",
            &self.unsendable,
        );
    }

    /// Metrics of entries.
    fn register_entries(&self, registry: &mut Registry) {
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(format!("memberlist_client_{name}"), help, counter.clone());
        };
        counter("cas_attempt", "Compare-and-swaps tried", &self.cas_attempts);
        counter(
            "cas_success",
            "Compare-and-swaps that stored, deleted or kept",
            &self.cas_successes,
        );
        counter(
            "cas_failure",
            "Compare-and-swaps that failed",
            &self.cas_failures,
        );
        counter(
            "adopted_entries",
            "Entries that this member has taken over, from a dead or leaving member or from two \
             writers at once",
            &self.adopted,
        );
        counter(
            "superseded_entries_dropped",
            "Own copies dropped because another member publishes a newer value",
            &self.superseded,
        );
    }

    /// Metrics of restarts, joiners and strangers.
    fn register_protection(&self, registry: &mut Registry) {
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(format!("memberlist_client_{name}"), help, counter.clone());
        };
        counter(
            "gossip_restarts",
            "Times that the gossip task was restarted after a panic",
            &self.restarts,
        );
        counter(
            "unproven_packets",
            "Packets from addresses that have not answered a challenge; each causes one \
             challenge at most, and is sent again if its sender receives the challenge",
            &self.unproven,
        );
        counter(
            "displaced_connections",
            "Incoming TCP connections that were closed to make room for newer ones",
            &self.displaced,
        );
        counter(
            "snapshots",
            "Snapshots of all entries made for joining members; one serves all members that join \
             within seconds",
            &self.snapshots,
        );
        counter(
            "snapshot_parts_sent",
            "Parts of snapshots sent to joining members",
            &self.snapshot_parts,
        );
        counter(
            "snapshot_sent_bytes",
            "Bytes of the parts of snapshots sent to joining members",
            &self.snapshot_bytes,
        );
    }

    fn register_families(&self, registry: &mut Registry) {
        registry.register(
            "memberlist_client_kv_store_value_tombstones",
            "Deleted keys that are still remembered; key is the codec of their values",
            self.tombstones.clone(),
        );
        registry.register(
            "memberlist_client_kv_store_value_tombstones_removed",
            "Deleted keys that were forgotten; key is the codec of their values",
            self.tombstones_removed.clone(),
        );
        registry.register(
            "memberlist_client_messages_in_broadcast_queue",
            "What waits to be sent. Chitchat: packets that wait for a TCP connection (queue local). \
             Memberlist: changes of this member's (local), and of others that it repeats (gossip)",
            self.queues.clone(),
        );
        registry.register(
            "memberlist_client_refused_packets",
            "Packets and connections that were refused, by reason",
            self.refused.clone(),
        );
        registry.register(
            "memberlist_client_foreign_packets",
            "Packets and connections refused as not_ours, by the protocol that they are of",
            self.foreign.clone(),
        );
        registry.register(
            "memberlist_client_propagation_delay_seconds",
            "Time between the write of a value, by the writer's clock, and its arrival here",
            self.propagation.clone(),
        );
        for protocol in ForeignProtocol::ALL.map(ForeignProtocol::as_str) {
            drop(self.foreign.get_or_create(&Spoken { protocol }));
        }
        // All exist from the start, because an alert on a rate needs the zero before the first
        // event.
        for reason in Refusal::ALL
            .map(Refusal::reason)
            .into_iter()
            .chain([BAD_ENTRY, TOO_MANY_CONNECTIONS])
        {
            drop(self.refused.get_or_create(&Reason { reason }));
        }
    }

    /// Counts a packet of another protocol.
    pub(crate) fn foreign(&self, protocol: ForeignProtocol) {
        let protocol = protocol.as_str();
        self.foreign.get_or_create(&Spoken { protocol }).inc();
    }

    /// Counts a refused connection of memberlist's protocol.
    pub(crate) fn refuse_connection(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    /// Counts a refused packet.
    pub(crate) fn refuse(&self, reason: &'static str) {
        self.invalid.inc();
        self.refused.get_or_create(&Reason { reason }).inc();
    }
}
