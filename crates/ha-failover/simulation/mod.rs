//! A deterministic simulation of a fleet: senders, a balancer of connections, distributors that run
//! the real state machine, a store or gossip, and a sink that accounts for every sample.
//!
//! One seed gives one run. A run ends with the violations of the invariants that it found.

pub(crate) mod rng;
pub(crate) mod scenario;
mod senders;
mod sink;
mod store;
mod world;

pub(crate) use scenario::Scenario;
pub(crate) use world::{Report, World};

/// Runs one seed.
pub(crate) fn run(scenario: &Scenario, trace: bool) -> Report {
    World::new(scenario.clone(), trace).run()
}
