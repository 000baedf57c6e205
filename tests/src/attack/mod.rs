//! Attacks on a real distributor, and what they may cost.
//!
//! An [`Attack`] starts a [`Victim`] (a distributor process with a [`Sink`](crate::Sink) behind it),
//! does something hostile or unlucky to it, and is judged by an [`Outcome`]: what a healthy client
//! noticed, what the process held at most and afterwards, and whether a sample was lost or stored
//! twice. `cargo xtask attack` runs them all at full size on a release build and prints a table; a
//! short form of each is a test (`tests/tests/attack.rs`), which judges counts and bytes, never times.
//!
//! To add one: write `async fn name(size: Size) -> Outcome` in the file of its area, which nearly
//! always is a call of [`Victim::under`], list it in that file's `ATTACKS`, and name it in
//! `tests/tests/attack.rs`. Attack only what the victim itself opened on loopback; every loop has an
//! end. Facts that an area measures besides (bytes sent, connections taken) go into
//! [`Outcome::fact`] and are judged with [`Outcome::demand`].

mod bodies;
mod connections;
mod elections;
mod expanding;
mod gossip;
mod healthy;
mod joining;
mod outcome;
mod pushes;
mod raw;
mod scrapes;
mod usage;
mod victim;

use futures::future::BoxFuture;

pub use healthy::{Healthy, HealthyReport};
pub use outcome::{Outcome, table};
pub use raw::RawClient;
pub use usage::Usage;
pub use victim::Victim;

/// How much of an attack is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// For every test run: seconds, on a debug build, beside other tests.
    Short,
    /// As described in the attack's text.
    Full,
}

impl Size {
    /// The number for this size.
    pub fn pick<T>(self, short: T, full: T) -> T {
        match self {
            Self::Short => short,
            Self::Full => full,
        }
    }
}

/// One attack.
#[derive(Clone, Copy)]
pub struct Attack {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What is done at full size, one line.
    pub what: &'static str,
    /// Does it.
    pub run: fn(Size) -> BoxFuture<'static, Outcome>,
}

/// All attacks, by area.
const AREAS: &[&[Attack]] = &[
    bodies::ATTACKS,
    connections::ATTACKS,
    elections::ATTACKS,
    expanding::ATTACKS,
    gossip::ATTACKS,
    joining::ATTACKS,
    pushes::ATTACKS,
    scrapes::ATTACKS,
];

/// All attacks.
pub fn all() -> impl Iterator<Item = Attack> {
    AREAS.iter().copied().flatten().copied()
}

/// The attack of this name.
pub fn find(name: &str) -> Option<Attack> {
    all().find(|attack| attack.name == name)
}
