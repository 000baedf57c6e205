//! `distributor migration status`: which step of a migration to memberlist a fleet is on, whether all
//! agree, and whether the next step is safe.
//!
//! Pages and metrics of every distributor are fetched (`fetch`) into a `snapshot`; two snapshots
//! are judged (`judge`), which is pure; the verdict is shown as a `screen` or as `json`. The steps
//! are defined in `steps`.
//!
//! It is a client of the pages: it knows their JSON ([`admin_api`]) and the names of a few metrics,
//! and nothing else of the distributor that serves them, which may have another version, or be
//! Grafana Mimir's.

mod arguments;
mod command;
mod fetch;
mod json;
mod judge;
mod screen;
mod snapshot;
mod steps;
#[cfg(test)]
mod tests;

pub use command::run;
