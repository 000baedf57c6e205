//! Harness of the end-to-end tests.
//!
//! Real processes ([`Distributor`], [`Prometheus`], [`Etcd`], [`Consul`], [`Browser`]) and in-test peers with
//! real sockets ([`Target`] is scraped, [`Proxy`] is the network between two of them, and
//! [`GossipMesh`] has one between distributors; those that send and receive remote write, and tell
//! what became of every sample, are of [`remote_write_testkit`]).
//! Everything binds to loopback, lives in a temporary folder of its own, and is gone when its handle
//! is dropped.
//! Tests wait for conditions ([`wait_for`]), never for time to pass.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a harness fails its test by panicking"
)]

pub mod attack;
mod browser;
mod distributor;
mod example;
mod exposition;
mod gossip;
mod grpc;
mod json;
pub mod migration;
mod pipe;
mod prometheus;
pub mod promtool;
mod python;
pub mod showcase;
mod target;

pub use admin_api::{Elected, HaTracker, MemberState, MultiKv};
pub use browser::{Browser, Look, Tab};
pub use distributor::Distributor;
pub use example::{example, example_with, service};
pub use exposition::{Exemplar as TargetExemplar, Histogram as TargetHistogram};
pub use gossip::{GossipMesh, MemberConfig, MemberRow, MembersPage};
pub use grpc::{GrpcClient, tracker};
pub use json::merge;
pub use peers::{
    Answer, Consul, ConsulOptions, Etcd, EtcdOptions, GoEntry, GoMember, GoVerdict, LONG, Labels,
    MemberlistGo, MemberlistGoOptions, Metrics, Port, Process, Proxy, Recipe, SHORT,
    ServerTlsFiles, Signal, get, http_client, wait_for,
};
pub use pipe::Pipe;
pub use prometheus::{Prometheus, PrometheusConfig, PrometheusVersion, RemoteWrite};
pub use python::start_python;
pub use remote_write_testkit::{
    Account, Cluster, Exemplar, Fault, Ledger, Load, MetricMetadata, REPLICAS, ReceivedRequest,
    Replica, ReplicaConfig, STALE_NAN_BITS, Sample, Sender, Series, Sink, Version, labels, now_ms,
    pair_series, to_v1, to_v2, v1, v2,
};
pub use target::Target;
