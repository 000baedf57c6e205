//! Elections in gossip, the default store: fleets of distributors without anything else to run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;

mod five;
mod fleet;
mod foreign;
mod joining;
mod mimir;
mod page;
mod partition;
mod protocol;
mod security;
