//! Background tasks. A task is a struct whose fields are the only things that it may touch; it runs
//! until it is dropped.

mod admit;
mod cleanup;
mod follow;
mod probe;
mod refresh;
mod survey;

pub(crate) use admit::{Admissions, NotAdmitted};
pub(crate) use cleanup::Cleanup;
pub(crate) use follow::Follow;
pub(crate) use probe::Probe;
pub(crate) use refresh::Refresh;
pub(crate) use survey::TakeSurveys;
