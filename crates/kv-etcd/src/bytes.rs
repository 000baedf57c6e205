//! [`EtcdBytes`]: reads, conditional writes, lists.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use kv_core::{ByteStore, Failure, WatchEvent, WatchScope};
use rustls::ClientConfig;

use crate::error::CallError;
use crate::generated::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::generated::request_op::Request;
use crate::generated::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use crate::members::Members;
use crate::range::Range;
use crate::{ConfigError, EtcdConfig, watch};

/// etcd's own API, below [`EtcdStore`](crate::EtcdStore).
pub struct EtcdBytes {
    members: Arc<Members>,
}

impl EtcdBytes {
    /// The members that `config` names; `tls` is used while `tls_enabled` is set. Does no I/O. For a
    /// [`TypedStore`](kv_core::TypedStore) with a policy of your own: usually
    /// [`open`](crate::open) is what you want.
    ///
    /// # Errors
    /// The configuration cannot work, regardless of the state of etcd.
    pub fn new(config: &EtcdConfig, tls: Option<ClientConfig>) -> Result<Self, ConfigError> {
        Ok(Self {
            members: Arc::new(Members::new(config, tls)?),
        })
    }
}

#[async_trait]
impl ByteStore for EtcdBytes {
    /// The revision of a key's last change. dskit compares the key's version, which counts changes
    /// since the key was created: a key that was deleted and created again in between can have the
    /// same version. A revision never repeats. Both ways can be mixed in one fleet.
    type Version = i64;

    fn name(&self) -> &'static str {
        "etcd"
    }

    fn refuses(&self, _: &str) -> Option<&'static str> {
        None
    }

    async fn read(&self, key: &str) -> Result<Option<(Vec<u8>, i64)>, Failure> {
        let request = RangeRequest {
            key: key.into(),
            ..RangeRequest::default()
        };
        let mut answer = self
            .members
            .call(|client| client.range(request.clone()))
            .await
            .map_err(CallError::into_failure)?;
        let entry = answer.kvs.pop();
        Ok(entry.map(|entry| (entry.value, entry.mod_revision)))
    }

    async fn write(
        &self,
        key: &str,
        value: Option<Vec<u8>>,
        version: Option<i64>,
    ) -> Result<bool, Failure> {
        let change = match value {
            Some(value) => Request::RequestPut(PutRequest {
                key: key.into(),
                value,
            }),
            None => Request::RequestDeleteRange(only(key)),
        };
        // An absent key has revision 0.
        let unchanged = Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key: key.into(),
            target_union: Some(TargetUnion::ModRevision(version.unwrap_or(0))),
        };
        let transaction = TxnRequest {
            compare: vec![unchanged],
            success: vec![RequestOp {
                request: Some(change),
            }],
        };
        let answer = self
            .members
            .call(|client| client.txn(transaction.clone()))
            .await
            .map_err(CallError::into_write_failure)?;
        Ok(answer.succeeded)
    }

    async fn remove(&self, key: &str) -> Result<(), Failure> {
        self.members
            .call(|client| client.delete(only(key)))
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
            String::from_utf8(entry.key)
                .inspect_err(|error| {
                    tracing::debug!(
                        key = %error.as_bytes().escape_ascii(),
                        "a key of another program is not UTF-8"
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

/// Deletes one key.
fn only(key: &str) -> DeleteRangeRequest {
    DeleteRangeRequest {
        key: key.into(),
        ..DeleteRangeRequest::default()
    }
}
