//! Calls: reads, conditional writes, lists.

use std::sync::Arc;

use async_trait::async_trait;
use etcd_client::{Client, Compare, CompareOp, GetOptions, KeyValue, KvClient, SortOrder};
use etcd_client::{SortTarget, Txn, TxnOp};
use futures::stream::BoxStream;
use kv_core::{ByteStore, Failure, WatchEvent, WatchScope};

use crate::error::{CallError, Cause};
use crate::members::Members;
use crate::range::Range;
use crate::{ConfigError, EtcdConfig, watch};

/// Keys in one answer. With keys and values of the usual size it has some 100 KB.
const PAGE: i64 = 1000;
/// Largest answer that is accepted, bytes. gRPC's own limit of 4 MiB would be too small for a page
/// of the longest keys.
pub(crate) const MAX_ANSWER: usize = 64 << 20;

/// etcd's own API, below [`EtcdStore`](crate::EtcdStore).
pub struct EtcdBytes {
    members: Arc<Members>,
}

/// All that was in a range at one revision.
pub(crate) struct Snapshot {
    pub(crate) cluster: u64,
    pub(crate) revision: i64,
    pub(crate) entries: Vec<KeyValue>,
}

/// What is known of a range at one revision without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Survey {
    pub(crate) cluster: u64,
    /// The newest of the whole store, whatever revision was asked for.
    pub(crate) head: i64,
    pub(crate) count: usize,
    /// The revision of the last change that has left a value; 0 if there is none.
    pub(crate) newest: i64,
}

impl EtcdBytes {
    pub(crate) fn new(config: &EtcdConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            members: Arc::new(Members::new(config)?),
        })
    }
}

fn kv(client: &Client) -> KvClient {
    client.kv_client().max_decoding_message_size(MAX_ANSWER)
}

impl Members {
    /// Reads a range page by page, all at the revision of the first. Fails when that is compacted
    /// meanwhile.
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

    /// Looks at a range at a revision; 0 is the newest.
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
            newest: answer.kvs().first().map_or(0, KeyValue::mod_revision),
        })
    }

    fn no_header(&self) -> CallError {
        let member = self.name(self.current());
        CallError::new(member, Cause::Unanswered, "its answer has no header")
    }
}

#[async_trait]
impl ByteStore for EtcdBytes {
    /// The revision of a key's last change. dskit compares the key's version, which counts changes
    /// since the key was created: one that was deleted and created again in between can have the
    /// same. A revision never comes back. Either works beside the other.
    type Version = i64;

    fn name(&self) -> &'static str {
        "etcd"
    }

    fn refuses(&self, _: &str) -> Option<&'static str> {
        None
    }

    async fn read(&self, key: &str) -> Result<Option<(Vec<u8>, i64)>, Failure> {
        let mut answer = self
            .members
            .call(|client| async move { kv(&client).get(key, None).await })
            .await
            .map_err(CallError::into_failure)?;
        Ok(answer.take_kvs().pop().map(|entry| {
            let version = entry.mod_revision();
            (entry.into_key_value().1, version)
        }))
    }

    async fn write(
        &self,
        key: &str,
        value: Option<Vec<u8>>,
        version: Option<i64>,
    ) -> Result<bool, Failure> {
        let change = match value {
            Some(value) => TxnOp::put(key, value, None),
            None => TxnOp::delete(key, None),
        };
        // An absent key has revision 0.
        let unchanged = Compare::mod_revision(key, CompareOp::Equal, version.unwrap_or(0));
        let transaction = Txn::new().when([unchanged]).and_then([change]);
        let answer = self
            .members
            .call(|client| {
                let transaction = transaction.clone();
                async move { kv(&client).txn(transaction).await }
            })
            .await
            .map_err(CallError::into_write_failure)?;
        Ok(answer.succeeded())
    }

    async fn remove(&self, key: &str) -> Result<(), Failure> {
        self.members
            .call(|client| async move { kv(&client).delete(key, None).await })
            .await
            .map_err(CallError::into_failure)?;
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let snapshot = self
            .members
            .snapshot(&Range::prefix(prefix), true)
            .await
            .map_err(CallError::into_failure)?;
        let keys = snapshot.entries.into_iter().filter_map(|entry| {
            String::from_utf8(entry.into_key_value().0)
                .inspect_err(|error| {
                    tracing::debug!(
                        key = %error.as_bytes().escape_ascii(),
                        "a key of others is not UTF-8"
                    );
                })
                .ok()
        });
        Ok(keys.collect())
    }

    fn watch(&self, scope: WatchScope) -> BoxStream<'static, WatchEvent<Vec<u8>>> {
        watch::watch(Arc::clone(&self.members), &scope)
    }
}
