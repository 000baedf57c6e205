//! Reads or counts the keys of a range.

use etcd_client::{Client, GetOptions, KeyValue, KvClient, SortOrder, SortTarget};

use crate::error::{CallError, Cause};
use crate::members::Members;
use crate::range::Range;

/// Keys in one answer. With keys and values of the usual size it has some 100 KB.
const PAGE: i64 = 1000;
/// Largest answer that is accepted, bytes. gRPC's own limit of 4 MiB would be too small for a page
/// of the longest keys.
pub(crate) const MAX_ANSWER: usize = 64 << 20;

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

/// The client for keys and values, with room for the largest answer.
pub(crate) fn kv(client: &Client) -> KvClient {
    client.kv_client().max_decoding_message_size(MAX_ANSWER)
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
                Some(last) => range.after(last.key()),
                None => range.clone(),
            };
            let mut options = GetOptions::new().with_range(rest.end).with_limit(PAGE);
            if let Some((_, revision)) = at {
                options = options.with_revision(revision);
            }
            if keys_only {
                options = options.with_keys_only();
            }
            let mut page = self
                .call(|client| {
                    let (start, options) = (rest.start.clone(), options.clone());
                    async move { kv(&client).get(start, Some(options)).await }
                })
                .await?;
            let (cluster, revision) = match (at, page.header()) {
                (Some(known), _) => known,
                (None, Some(header)) => (header.cluster_id(), header.revision()),
                (None, None) => return Err(self.no_header()),
            };
            at = Some((cluster, revision));
            let kvs = page.take_kvs();
            let last = !page.more() || kvs.is_empty();
            entries.extend(kvs);
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
        let options = GetOptions::new()
            .with_range(range.end.clone())
            .with_revision(revision)
            .with_sort(SortTarget::Mod, SortOrder::Descend)
            .with_limit(1)
            .with_keys_only();
        let answer = self
            .call(|client| {
                let (start, options) = (range.start.clone(), options.clone());
                async move { kv(&client).get(start, Some(options)).await }
            })
            .await?;
        let Some(header) = answer.header() else {
            return Err(self.no_header());
        };
        Ok(Survey {
            cluster: header.cluster_id(),
            head: header.revision(),
            count: usize::try_from(answer.count()).unwrap_or(0),
            newest: answer.kvs().first().map(KeyValue::mod_revision),
        })
    }

    fn no_header(&self) -> CallError {
        let member = self.name(self.current());
        CallError::new(member, Cause::Unanswered, "its answer has no header")
    }
}
