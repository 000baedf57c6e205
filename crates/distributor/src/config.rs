//! The configuration, read with the stores of this build.

use std::ffi::OsString;

pub use distributor_config::*;

use crate::store;

/// As [`distributor_config::load`], with a trial of the stores that are chosen.
///
/// # Errors
/// All mistakes of all sources; the caller prints them and exits with status 64.
pub fn load(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Invocation, ConfigErrors> {
    distributor_config::load(arguments, variables, &store::check)
}
