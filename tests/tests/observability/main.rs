//! Dashboards, alerts and traces, as an operator gets them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;

mod fleet;
mod profiles;
mod queries;
mod rules;
mod traces;
