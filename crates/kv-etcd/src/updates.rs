//! The messages of one watch at one member.

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tonic::Status;

use crate::client::Client;
use crate::error::CallError;
use crate::generated::event::EventType;
use crate::generated::{WatchCreateRequest, WatchResponse};
use crate::members::Members;
use crate::range::Range;

/// A message of a watch.
#[derive(Debug)]
pub(crate) struct Update {
    /// The watch has begun.
    pub(crate) created: bool,
    /// The watch is over.
    pub(crate) cancelled: Option<Cancelled>,
    /// More changes of the same revision come in the next update.
    pub(crate) fragment: bool,
    /// The store's revision. Changes before it may still follow, unless this update has no changes
    /// at all.
    pub(crate) revision: i64,
    /// In the order of their revisions.
    pub(crate) changes: Vec<Change>,
}

/// Why a watch is over.
#[derive(Debug)]
pub(crate) struct Cancelled {
    /// The revision that it was to start from has been compacted.
    pub(crate) compacted: bool,
    pub(crate) reason: String,
}

/// A change of a key.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) key: Vec<u8>,
    /// `None`: it was deleted.
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) revision: i64,
}

/// The messages of a watch, until it breaks.
pub(crate) type Updates = BoxStream<'static, Result<Update, Status>>;

impl Members {
    /// Watches a range from a revision on; returns when the member has confirmed the watch.
    pub(crate) async fn updates(
        &self,
        member: usize,
        range: &Range,
        from: i64,
    ) -> Result<Updates, CallError> {
        let request = WatchCreateRequest {
            key: range.start.clone(),
            range_end: range.end.clone(),
            start_revision: from,
            progress_notify: true,
            fragment: true,
        };
        self.call_member(member, |client| begin(client, request.clone()))
            .await
    }
}

async fn begin(client: Client, request: WatchCreateRequest) -> Result<Updates, Status> {
    let answers = client.watch(request).await?;
    let mut updates = answers.map(|answer| answer.map(Update::from)).boxed();
    match updates.next().await {
        Some(first) => {
            let first = first?;
            Ok(stream::once(async { Ok(first) }).chain(updates).boxed())
        }
        None => Err(Status::unknown("the member ended the stream at once")),
    }
}

impl From<WatchResponse> for Update {
    fn from(answer: WatchResponse) -> Self {
        let changes = answer.events.into_iter().filter_map(|event| {
            let entry = event.kv?;
            let value = match EventType::try_from(event.r#type) {
                Ok(EventType::Put) => Some(entry.value),
                Ok(EventType::Delete) => None,
                Err(unknown) => {
                    tracing::debug!(kind = unknown.0, "unknown kind of event");
                    return None;
                }
            };
            Some(Change {
                key: entry.key,
                value,
                revision: entry.mod_revision,
            })
        });
        Self {
            created: answer.created,
            cancelled: answer.canceled.then_some(Cancelled {
                compacted: answer.compact_revision != 0,
                reason: answer.cancel_reason,
            }),
            fragment: answer.fragment,
            revision: answer.header.map_or(0, |header| header.revision),
            changes: changes.collect(),
        }
    }
}
