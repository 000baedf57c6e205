//! `distributor demo`: three real distributors between two senders of an HA pair and a sink that
//! checks every sample, in one process on loopback. One distributor is killed, then a sender fails
//! over.
//!
//! Everything between them goes over HTTP, and between the distributors over gossip; the numbers come
//! from where they arise: the distributors' pages, the answers that the senders got, the sink's own
//! count.
//!
//! The `runner` follows the `script` and keeps the `dashboard` up to date, which is shown in a terminal
//! (`live_view`) or as lines (`plain_view`); in the end there is a `summary`. It starts distributors as
//! the binary does, and knows nothing of their insides.

mod command;
mod dashboard;
mod display;
mod distributors;
mod error;
mod live_view;
mod observer;
mod plain_view;
mod runner;
mod script;
mod summary;

pub use command::run;
