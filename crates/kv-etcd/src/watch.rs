//! Watches: first the existing entries, then each change, over any number of connections.
//!
//! A watcher knows the revision up to which it has reported. After an interruption it watches from
//! that revision on, so nothing is read again and nothing is missed: etcd either has all changes
//! since, or reports that it has compacted them. In that case the watcher reads everything and
//! reports the differences.
//!
//! Before that, it checks that this is still the same history ([`Watcher::verify`]). A member that
//! has lost its data, or was restored from an older backup, would accept a watch from a future
//! revision and be silent until then.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use kv_core::{Backoff, WatchEvent, WatchScope};
use tokio::time::{Instant, sleep};

use crate::error::{CallError, Cause};
use crate::members::Members;
use crate::range::Range;
use crate::survey::{Snapshot, Survey};
use crate::updates::{Change, Update, Updates};

const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(5),
};

/// Endless; does nothing while it is not polled.
pub(crate) fn watch(
    members: Arc<Members>,
    scope: &WatchScope,
) -> BoxStream<'static, WatchEvent<Vec<u8>>> {
    let watcher = Watcher {
        members,
        range: Range::of(scope),
        scope: scope.to_string(),
        known: HashMap::new(),
        place: Place::default(),
        unread: true,
        owes_synced: true,
        live: None,
        ready: VecDeque::new(),
        failures: 0,
        outage: false,
    };
    stream::unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await;
        Some((event, watcher))
    })
    .boxed()
}

struct Watcher {
    members: Arc<Members>,
    range: Range,
    /// For the log.
    scope: String,
    /// The keys that exist, with the revisions of their last changes; `None` if the revision is no
    /// longer meaningful.
    known: HashMap<Vec<u8>, Option<i64>>,
    place: Place,
    /// Everything has to be read, because the changes since `place` are not available.
    unread: bool,
    /// [`WatchEvent::Synced`] is due once everything that exists has been reported.
    owes_synced: bool,
    live: Option<Live>,
    ready: VecDeque<WatchEvent<Vec<u8>>>,
    /// In a row.
    failures: u32,
    /// Whether the interruption has been logged.
    outage: bool,
}

/// `known` is exactly what was there before revision `next`.
#[derive(Debug, Default)]
struct Place {
    cluster: u64,
    next: i64,
}

struct Live {
    member: usize,
    updates: Updates,
    since: Instant,
    /// The entries when it began.
    goal: Survey,
}

impl Watcher {
    async fn next(&mut self) -> WatchEvent<Vec<u8>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            let Some(live) = &mut self.live else {
                if self.failures > 0 {
                    sleep(BACKOFF.pause(self.failures)).await;
                }
                if let Err(error) = self.connect().await {
                    self.failed(&error);
                }
                continue;
            };
            let member = live.member;
            let error = match live.updates.next().await {
                Some(Ok(update)) => {
                    self.take(update).await;
                    continue;
                }
                Some(Err(error)) => self.members.error(member, &error),
                None => self.ended(member, "the member ended the watch"),
            };
            self.members.leave(member);
            self.end();
            self.failed(&error);
        }
    }

    /// One step towards a running watch.
    async fn connect(&mut self) -> Result<(), CallError> {
        if self.unread {
            let snapshot = self.members.snapshot(&self.range, false).await?;
            self.compare(snapshot);
            return Ok(());
        }
        let Some(goal) = self.verify().await? else {
            return Ok(());
        };
        let member = self.members.current();
        let updates = self
            .members
            .updates(member, &self.range, self.place.next)
            .await?;
        self.live = Some(Live {
            member,
            updates,
            since: Instant::now(),
            goal,
        });
        Ok(())
    }

    /// Reports how what exists differs from what is known.
    fn compare(&mut self, snapshot: Snapshot) {
        let next = snapshot.revision + 1;
        if snapshot.cluster != self.place.cluster || next < self.place.next {
            self.distrust();
        }
        let mut before = std::mem::take(&mut self.known);
        for entry in snapshot.entries {
            let revision = Some(entry.mod_revision);
            if before.remove(&entry.key) != Some(revision) {
                self.report(&entry.key, Some(entry.value));
            }
            self.known.insert(entry.key, revision);
        }
        for key in before.into_keys() {
            self.report(&key, None);
        }
        self.place = Place {
            cluster: snapshot.cluster,
            next,
        };
        self.unread = false;
        self.synced();
    }

    /// Whether the store still has the history that led to `known`: its current state if so, `None`
    /// if everything has to be read. Both reads are linearizable, so a member that lags cannot
    /// cause a false alarm.
    async fn verify(&mut self) -> Result<Option<Survey>, CallError> {
        let then = match self.members.survey(&self.range, self.place.next - 1).await {
            Ok(then) => then,
            Err(error) => {
                match error.cause {
                    Cause::Compacted => {}
                    Cause::Future => self.distrust(),
                    _ => return Err(error),
                }
                tracing::info!(scope = %self.scope, %error, "etcd: reading everything again");
                self.read_again();
                return Ok(None);
            }
        };
        let newest = self.known.values().copied().flatten().max();
        let same = then.cluster == self.place.cluster
            && (then.count, then.newest) == (self.known.len(), newest);
        if !same {
            tracing::info!(
                scope = %self.scope,
                "etcd's history has changed (restored from a backup?); reading everything again"
            );
            self.distrust();
            self.read_again();
            return Ok(None);
        }
        let now = self.members.survey(&self.range, 0).await?;
        if (now.cluster, now.count, now.newest) == (then.cluster, then.count, then.newest) {
            self.place.next = self.place.next.max(now.head + 1);
        }
        Ok(Some(now))
    }

    /// After a pause, so that repeated failures do not cause a busy loop.
    fn read_again(&mut self) {
        self.unread = true;
        self.owes_synced = true;
        self.failures += 1;
    }

    /// Revisions of another history: equal ones would not mean equal values.
    fn distrust(&mut self) {
        for revision in self.known.values_mut() {
            *revision = None;
        }
    }

    async fn take(&mut self, update: Update) {
        if update.created && update.cancelled.is_none() && self.outage {
            tracing::info!(scope = %self.scope, "etcd: the watch goes on");
            self.outage = false;
        }
        let newest = update.changes.iter().map(|change| change.revision).max();
        let silent = newest.is_none() && !update.created && update.cancelled.is_none();
        for change in update.changes {
            self.apply(change);
        }
        // Not the revision of the update: changes before that may be in the next one. An update
        // without changes promises that there are none.
        if !update.fragment {
            let passed = if silent {
                Some(update.revision)
            } else {
                newest
            };
            self.place.next = self.place.next.max(passed.map_or(0, |passed| passed + 1));
        }
        if let Some(cancelled) = update.cancelled {
            let member = self.live.as_ref().map_or(0, |live| live.member);
            self.end();
            if cancelled.compacted {
                tracing::info!(
                    scope = %self.scope,
                    "changes were compacted; reading everything again"
                );
                self.read_again();
            } else {
                // Also the answer to an expired token.
                self.members.log_out(member).await;
                let text = format!("the member cancelled the watch: {}", cancelled.reason);
                let mut error = self.ended(member, text);
                if cancelled.reason.contains("permission denied") {
                    error.cause = Cause::Refused;
                }
                self.failed(&error);
            }
            return;
        }
        if self.owes_synced && self.caught_up() {
            self.synced();
        }
    }

    fn apply(&mut self, change: Change) {
        let new = match change.value {
            Some(_) => {
                let key = change.key.clone();
                self.known.insert(key, Some(change.revision)) != Some(Some(change.revision))
            }
            None => self.known.remove(&change.key).is_some(),
        };
        if new {
            self.report(&change.key, change.value);
        }
    }

    /// Whether all that existed when the watch began has been reported. etcd has no reliable signal
    /// for this (up to 3.4.24 it answers a progress request before it has sent the earlier
    /// changes). But the state at the beginning was read: once its newest change has been reported,
    /// only deletions can be missing, and they are missing if there are too many keys.
    fn caught_up(&self) -> bool {
        let Some(Live { goal, .. }) = &self.live else {
            return false;
        };
        let next = self.place.next;
        let has_newest = goal.newest.is_none_or(|newest| next > newest);
        next > goal.head || (has_newest && self.known.len() == goal.count)
    }

    fn synced(&mut self) {
        self.owes_synced = false;
        self.ready.push_back(WatchEvent::Synced);
    }

    fn report(&mut self, key: &[u8], value: Option<Vec<u8>>) {
        let Ok(key) = std::str::from_utf8(key) else {
            tracing::debug!(key = %key.escape_ascii(), "a key of another program is not UTF-8");
            return;
        };
        self.ready.push_back(match value {
            Some(value) => WatchEvent::Put(key.to_owned(), value),
            None => WatchEvent::Deleted(key.to_owned()),
        });
    }

    /// The watch has ended. If it had lasted for some time, earlier failures no longer count.
    fn end(&mut self) {
        self.owes_synced = true;
        if let Some(live) = self.live.take()
            && live.since.elapsed() >= BACKOFF.longest
        {
            self.failures = 0;
        }
    }

    fn ended(&self, member: usize, text: impl Into<String>) -> CallError {
        CallError::new(self.members.name(member), Cause::Unanswered, text)
    }

    fn failed(&mut self, error: &CallError) {
        self.failures += 1;
        let (scope, failures) = (&self.scope, self.failures);
        if error.cause == Cause::Refused {
            tracing::error!(%scope, failures, %error, "etcd: the watch is refused; trying again");
        } else if !self.outage {
            tracing::warn!(%scope, %error, "etcd: the watch was interrupted; trying again");
        } else {
            tracing::debug!(%scope, failures, %error, "etcd: the watch is still interrupted");
        }
        self.outage = true;
    }
}
