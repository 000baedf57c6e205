//! What senders are refused: one occurrence, and many.

use std::net::IpAddr;

use crate::cause::Cause;

/// A recent refusal of a tenant, or a problem of its samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The tenant; empty where the request named none that could be one.
    pub tenant: String,
    /// Whether the tenant has ever sent something valid to this instance.
    pub is_known: bool,
    /// What was wrong.
    pub cause: Cause,
    /// How many requests (samples, if [`Cause::counts_samples`]) since `since_ms`.
    pub count: u64,
    /// When it happened first, Unix ms. What has not happened for ten minutes is forgotten.
    pub since_ms: i64,
    /// When it happened last, Unix ms.
    pub last_ms: i64,
    /// What the sender was told last, at most 400 bytes. It can hold names from outside: never to be
    /// printed raw.
    pub example: String,
    /// Where the last of them came from.
    pub client: Option<IpAddr>,
}

/// One occurrence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occurrence<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) cause: Cause,
    /// Requests or samples.
    pub(crate) count: u64,
    /// HTTP status; 0 if nothing was refused.
    pub(crate) status: u16,
    pub(crate) message: &'a str,
    pub(crate) client: Option<IpAddr>,
}
