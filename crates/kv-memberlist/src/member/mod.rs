//! A member: its start, its periodic tasks, and how it leaves.
//!
//! Each background task is a function, whose parameters are what it may touch: [`publish`], [`join`],
//! [`recover`] (after a stall), and [`maintain`], which polls who is there, sweeps and tidies
//! ([`sweep`]). None of them knows the protocol of the [`crate::engine`].

mod address;
mod auto;
mod choice;
mod error;
mod handle;
mod inbox;
mod join;
mod leave;
mod maintain;
mod name;
mod publish;
mod readiness;
mod recover;
mod resolve;
mod start;
mod sweep;

pub use self::error::StartError;
pub use self::handle::{Inspector, Memberlist};
pub use self::resolve::{JoinMemberError, check_join_member};
pub use self::start::start;
#[cfg(feature = "testing")]
pub(crate) use self::{
    choice::fixed_protocol,
    start::{admission, start_memberlist, start_on},
};
