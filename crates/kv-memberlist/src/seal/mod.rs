//! The sealed packet, and the keys that it is encrypted with.

pub(crate) mod keyring;
pub(crate) mod packet;
pub(crate) mod reader;
pub(crate) mod refusal;
