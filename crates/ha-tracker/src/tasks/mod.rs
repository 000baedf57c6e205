//! What runs in the background. A task is a struct whose fields are what it may touch; it runs until
//! it is dropped.

mod admit;
mod cleanup;
mod follow;
mod probe;
mod refresh;

pub(crate) use admit::{Admissions, NotAdmitted};
pub(crate) use cleanup::Cleanup;
pub(crate) use follow::Follow;
pub(crate) use probe::Probe;
pub(crate) use refresh::Refresh;
