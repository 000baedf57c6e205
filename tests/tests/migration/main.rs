//! Moving the HA tracker from Consul or etcd to memberlist, as `cargo xtask migrate --quick` does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;

mod refused;
mod walks;
