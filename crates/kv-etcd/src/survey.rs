//! Reads or counts the keys of a range.

use crate::error::{CallError, Cause};
use crate::generated::range_request::{SortOrder, SortTarget};
use crate::generated::{KeyValue, RangeRequest};
use crate::members::Members;
use crate::range::Range;

/// Keys in one answer. With keys and values of the usual size it has some 100 KB.
const PAGE: i64 = 1000;

/// All entries of a range at one revision.
pub(crate) struct Snapshot {
    pub(crate) cluster: u64,
    pub(crate) revision: i64,
    pub(crate) entries: Vec<KeyValue>,
}

/// Facts about a range at one revision, without its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Survey {
    pub(crate) cluster: u64,
    /// The newest revision of the whole store, even if an older one was requested.
    pub(crate) head: i64,
    pub(crate) count: usize,
    /// The largest revision of an existing value, if there is one.
    pub(crate) newest: Option<i64>,
}

impl Members {
    /// Reads a range page by page, all at the revision of the first. Fails if that revision is
    /// compacted in the meantime.
    pub(crate) async fn snapshot(
        &self,
        range: &Range,
        keys_only: bool,
    ) -> Result<Snapshot, CallError> {
        let mut entries: Vec<KeyValue> = Vec::new();
        let mut at = None;
        loop {
            let rest = match entries.last() {
                Some(last) => range.after(&last.key),
                None => range.clone(),
            };
            let request = RangeRequest {
                key: rest.start,
                range_end: rest.end,
                limit: PAGE,
                revision: at.map_or(0, |(_, revision)| revision),
                keys_only,
                ..RangeRequest::default()
            };
            let page = self.call(|client| client.range(request.clone())).await?;
            let (cluster, revision) = match (at, page.header) {
                (Some(known), _) => known,
                (None, Some(header)) => (header.cluster_id, header.revision),
                (None, None) => return Err(self.no_header()),
            };
            at = Some((cluster, revision));
            let last = !page.more || page.kvs.is_empty();
            entries.extend(page.kvs);
            if last {
                return Ok(Snapshot {
                    cluster,
                    revision,
                    entries,
                });
            }
        }
    }

    /// Counts a range at a revision; 0 is the newest.
    pub(crate) async fn survey(&self, range: &Range, revision: i64) -> Result<Survey, CallError> {
        let request = RangeRequest {
            key: range.start.clone(),
            range_end: range.end.clone(),
            revision,
            sort_order: SortOrder::Descend.into(),
            sort_target: SortTarget::Mod.into(),
            limit: 1,
            keys_only: true,
        };
        let answer = self.call(|client| client.range(request.clone())).await?;
        let Some(header) = answer.header else {
            return Err(self.no_header());
        };
        Ok(Survey {
            cluster: header.cluster_id,
            head: header.revision,
            count: usize::try_from(answer.count).unwrap_or(0),
            newest: answer.kvs.first().map(|entry| entry.mod_revision),
        })
    }

    fn no_header(&self) -> CallError {
        let member = self.name(self.current());
        CallError::new(member, Cause::Unanswered, "its answer has no header")
    }
}
