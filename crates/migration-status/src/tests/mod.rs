//! Fleets as data, and what is said of them.

mod fleets;
mod judgements;
mod screens;
