//! The messages of one watch at one member.

use etcd_client::{Client, Error, WatchOptions};
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::error::CallError;
use crate::members::Members;
use crate::range::Range;
use crate::survey::MAX_ANSWER;

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
pub(crate) type Updates = BoxStream<'static, Result<Update, Error>>;

impl Members {
    /// Watches a range from a revision on; returns when the member has confirmed the watch.
    pub(crate) async fn updates(
        &self,
        member: usize,
        range: &Range,
        from: i64,
    ) -> Result<Updates, CallError> {
        let options = WatchOptions::new()
            .with_range(range.end.clone())
            .with_start_revision(from)
            .with_fragment()
            .with_progress_notify();
        self.call_member(member, |client| {
            begin(client, range.start.clone(), options.clone())
        })
        .await
    }
}

async fn begin(client: Client, start: Vec<u8>, options: WatchOptions) -> Result<Updates, Error> {
    let mut client = client.watch_client().max_decoding_message_size(MAX_ANSWER);
    let (requests, answers) = client.watch(start, Some(options)).await?.split();
    // Field by field: etcd-client's own view of an answer hides `fragment`, and panics at a kind of
    // event that it does not know.
    let mut updates = answers
        .map(move |answer| {
            // The watch ends when this is dropped.
            let _ = &requests;
            let answer = answer?;
            Ok(Update {
                created: answer.created,
                cancelled: answer.canceled.then_some(Cancelled {
                    compacted: answer.compact_revision != 0,
                    reason: answer.cancel_reason,
                }),
                fragment: answer.fragment,
                revision: answer.header.map_or(0, |header| header.revision),
                changes: answer
                    .events
                    .into_iter()
                    .filter_map(|event| {
                        let entry = event.kv?;
                        let value = match event.r#type {
                            0 => Some(entry.value),
                            1 => None,
                            unknown => {
                                tracing::debug!(kind = unknown, "unknown kind of event");
                                return None;
                            }
                        };
                        Some(Change {
                            key: entry.key,
                            value,
                            revision: entry.mod_revision,
                        })
                    })
                    .collect(),
            })
        })
        .boxed();
    match updates.next().await {
        Some(first) => {
            let first = first?;
            Ok(stream::once(async { Ok(first) }).chain(updates).boxed())
        }
        None => Err(Error::WatchError(
            "the member ended the stream at once".to_owned(),
        )),
    }
}
