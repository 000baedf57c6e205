//! The snapshot: how a joiner gets the maps of a cluster at once.
//!
//! chitchat brings a member up to date by exchanges of one message each, and for each it sorts all
//! that the other lacks: what a joiner is sent in a thousand messages is sorted a thousand times, by
//! every member that it speaks with. So a joiner that lacks much *asks* one member for a snapshot. It
//! is made once for all joiners of some seconds, and it consists of *parts*: messages that chitchat
//! itself could have sent, each of which continues the one before it. The joiner asks for some parts
//! at a time, and for the next ones when it has these: so neither side holds more than it can take,
//! and a member that serves keeps nothing of those that it serves.
//!
//! Meanwhile the joiner tells the others that it lacks nothing of what it is being sent
//! ([`super::inspect::UNTOLD`]), so that none of them prepares the same for it.

pub(super) mod asks;
pub(super) mod message;
pub(super) mod parts;
pub(super) mod receiving;
pub(super) mod serve;
