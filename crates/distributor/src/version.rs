//! Which build this is.

/// Version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Revision of this build: `GIT_REVISION` of its environment, else that of the repository it was
/// built in (`build.rs`).
pub const REVISION: &str = env!("GIT_REVISION");
