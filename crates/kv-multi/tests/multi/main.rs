//! A multi store over two stores in memory, whose calls fail, hang and take time. The clock is
//! paused.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a check that fails panics"
)]

mod backfill;
mod comparison;
mod handle;
mod mirror;
mod part;
mod routing;
mod support;
mod switch;
mod switch_writes;
