//! What a setting is, and how mistakes in settings are reported.
//!
//! A crate that can be configured declares its settings with [`settings!`], each in one place: the
//! field that a user of the library sets, its documentation, which is also the help text that an
//! operator reads, its default, its kind and its flag. The macro generates a plain struct and the
//! rows ([`Setting`]) from which an application derives YAML keys, environment variables, flags and
//! a reference. The rules for the values are a method of the struct that writes to a [`Report`].
//!
//! This crate is plain data. It reads no file, no environment and no command line, and it does not
//! know the sections of an application's configuration: rows and reports have names relative to
//! their section, and the application adds its prefixes.
//!
//! The package is `declared-settings`: `settings = { package = "declared-settings", version = "0.1" }`.
//!
//! ```
//! use std::time::Duration;
//!
//! use settings::{Kind, Report, settings};
//!
//! settings! {
//!     /// How to knock.
//!     pub struct KnockConfig {
//!         /// Where to knock, as host and port.
//!         #[setting(flag = "host", kind = Kind::Text, default = "localhost:80", basic)]
//!         pub host: String,
//!         /// How long to wait for an answer, at most 1m.
//!         #[setting(flag = "timeout", kind = Kind::Duration, default = "5s", nonzero)]
//!         pub timeout: Duration,
//!     }
//! }
//!
//! impl KnockConfig {
//!     /// The rules about the values.
//!     pub fn check(&self, report: &mut Report<'_>) {
//!         self.check_nonzero(report);
//!         report.duration("timeout", self.timeout, Duration::from_millis(1)..=Duration::from_secs(60));
//!     }
//! }
//!
//! let config = KnockConfig { timeout: Duration::from_secs(90), ..KnockConfig::default() };
//! assert_eq!(config.host, "localhost:80");
//! assert_eq!(KnockConfig::SETTINGS[1].help, "How long to wait for an answer, at most 1m.");
//!
//! let mut report = Report::default();
//! config.check(&mut report);
//! let mistakes = report.into_result().unwrap_err();
//! assert_eq!(mistakes.to_string(), "timeout: got 1m30s; must be from 1ms to 1m0s");
//! ```

// So that what the macro writes is the same inside of this crate and outside.
#[cfg(test)]
extern crate self as settings;

mod declare;
pub mod field;
mod kind;
mod report;
mod secret;
mod setting;
mod units;

#[cfg(test)]
mod tests;

#[doc(hidden)]
pub use declare::__help;
pub use kind::{AUTO, Kind, Value, parse_address, parse_bool, split_list};
pub use report::{Context, Mistake, Mistakes, Problem, Report};
pub use secret::{REDACTED, Secret, SecretUrl, redact_userinfo};
pub use setting::Setting;
pub use units::{format_duration, parse_duration, parse_size};

#[doc(hidden)]
pub use serde;
