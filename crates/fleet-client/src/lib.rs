//! How commands reach the distributors of a fleet: the flags for addresses, TLS and credentials, which
//! are the same for every command, and the client that they make.
//!
//! It knows no page and no command.

mod arguments;
mod connection;
mod resolve;

pub use arguments::Arguments;
pub use connection::{Connection, FLAGS};
pub use resolve::{Target, short};
