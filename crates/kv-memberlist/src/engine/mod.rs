//! What carries entries between members.

pub(crate) mod chitchat;

#[cfg(feature = "testing")]
pub use self::chitchat::fuzzing;
