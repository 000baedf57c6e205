//! What dskit's rules ask of the values that are kept.

use bytes::Bytes;

/// A value that its codec cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value cannot be read: {0}")]
pub struct BadValue(pub String);

/// Where a value that is to be merged comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From another member: a part of a value, or all of it.
    Member,
    /// From here: all of the value, made from what is stored now. What it lacks was removed.
    Local,
}

/// What came of a merge of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedValue {
    /// What is stored from now on.
    pub value: Bytes,
    /// What has changed, as a value of its own: it is sent to others, who merge it into theirs.
    pub change: Bytes,
}

/// How values of one kind are merged and swept.
///
/// Members receive changes in any order and more than once, and must come to the same value: for
/// [`Origin::Member`], a merge is commutative, associative and idempotent. Values are as they are sent;
/// [`value`](super::value) opens those of dskit's codecs.
pub trait Codec: Send + Sync {
    /// Merges `incoming` into `stored`; `None` when that changes nothing.
    ///
    /// # Errors
    /// When `incoming` cannot be read. It is dropped then.
    fn merge(
        &self,
        stored: &Bytes,
        incoming: &Bytes,
        origin: Origin,
    ) -> Result<Option<MergedValue>, BadValue>;

    /// The names of the parts of which a value or a change is made. A change replaces an older one
    /// of its key that waits to be sent if it has all of its parts. Without parts, nothing is sent.
    ///
    /// # Errors
    /// When the value cannot be read.
    fn contents(&self, value: &Bytes) -> Result<Vec<String>, BadValue>;

    /// The value without the parts that were deleted before `before_ms`, in Unix milliseconds; `None`
    /// when there are none. Values whose parts are not deleted one by one have none.
    fn sweep(&self, value: &Bytes, before_ms: i64) -> Option<Bytes> {
        let _ = (value, before_ms);
        None
    }
}
