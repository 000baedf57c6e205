//! Benchmarks of the hot path: requests to measure with, measuring, and reporting.
//!
//! `cargo run --release -p bench -- [--json FILE] [--quick]` prints a markdown table. Every row
//! compares with a reference that ran in the same rounds, so a busy or throttled machine changes
//! both sides alike.

pub mod allocations;
pub mod arguments;
pub mod lossless;
pub mod measure;
pub mod process;
pub mod push;
pub mod reference;
pub mod remote_write;
pub mod report;
pub mod tracker;
