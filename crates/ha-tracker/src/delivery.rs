//! How a request of an elected replica ended: whether the replica goes on, or waits because it was
//! refused.

/// The end of a request of an elected replica, as the sender was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Stored, or refused for good: the sender goes on with its next request.
    Settled,
    /// Refused for now, by us or by the downstream: the sender will repeat it, and may wait first.
    Refused,
    /// Not answered: the sender hung up, or died. Counts as refused if the request before it ended
    /// without being stored, too: the sender may wait before it tries once more.
    Abandoned,
}
