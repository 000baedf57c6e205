//! [`Participant`]: waits for its election, and works while it is elected.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::StreamExt;
use kv_core::{Backoff, CasOutcome, CasUpdate, Store, StoreError, WatchEvent, WatchStream};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{ElectionError, Lease, Term, Timing};

/// Pauses after calls of the store that failed.
const FAILURE: Backoff = Backoff {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(2),
};

/// One copy of a program, in an election. Cheap to share behind an [`Arc`]; but one `run` at a time,
/// since two runs of one participant are two candidates.
pub struct Participant {
    store: Arc<dyn Store<Lease>>,
    key: String,
    name: String,
    timing: Timing,
}

/// What a candidate knows of the entry.
#[derive(Default)]
struct Seen {
    /// `None`: there is no entry.
    lease: Option<Lease>,
    /// Since when it has been as it is; `None` before anything is known.
    since: Option<Instant>,
}

/// How a term ended.
enum Ended<T> {
    Done(T),
    Lost,
}

impl Participant {
    /// A participant of the election under `key`. `name` is for people: what is stored is the name
    /// and random characters, so that a copy that was restarted is another participant.
    ///
    /// # Errors
    /// The times cannot work.
    pub fn new(
        store: Arc<dyn Store<Lease>>,
        key: impl Into<String>,
        name: &str,
        timing: Timing,
    ) -> Result<Self, ElectionError> {
        timing.check()?;
        Ok(Self {
            store,
            key: key.into(),
            name: name.to_owned(),
            timing,
        })
    }

    /// Waits until this participant is elected, and runs the future that `work` makes for the term.
    /// If the term ends before that future does, it is dropped, and the participant waits for its
    /// next election. Returns what the work returned, after the term was released.
    ///
    /// The work is never polled after its term has ended. A poll that blocks is not interrupted: use
    /// [`Term::token`], and [`Term::remaining`] for calls that block.
    ///
    /// [`Send`] if the work is. If it is cancelled (the future is dropped), the work is dropped and the
    /// candidacy ends, at any await: nothing is left behind in the program. The term is not released
    /// then: the others wait for [`Timing::timeout`].
    ///
    /// # Errors
    /// The election cannot be held: the store refuses the key, holds something else there, or was
    /// shut down. Failures that may pass are waited for.
    pub async fn run<T, F>(&self, mut work: impl FnMut(Term) -> F) -> Result<T, ElectionError>
    where
        F: Future<Output = T>,
    {
        loop {
            let (holder, term) = self.elected().await?;
            tracing::info!(
                election = self.key,
                name = self.name,
                token = term.token(),
                "elected"
            );
            let ended = self.hold(&holder, &term, work(term.clone())).await?;
            term.end();
            match ended {
                Ended::Done(value) => {
                    self.release(&holder, &term).await;
                    return Ok(value);
                }
                Ended::Lost => {
                    let token = term.token();
                    tracing::warn!(
                        election = self.key,
                        name = self.name,
                        token,
                        "the term is over"
                    );
                }
            }
        }
    }

    /// Waits for an election of this participant.
    async fn elected(&self) -> Result<(String, Term), ElectionError> {
        let mut events = self.store.watch_key(&self.key);
        let mut seen = Seen::default();
        let mut failures = 0;
        loop {
            self.wait_for_vacancy(&mut events, &mut seen).await?;
            let holder = format!("{}-{:08x}", self.name, rand::random::<u32>());
            let before = Instant::now();
            match self.try_elect(&holder, &mut seen).await {
                Ok(Some(token)) => {
                    let term = Term::new(token, before + self.timing.term());
                    if self.is_settled(&holder, &term).await? {
                        return Ok((holder, term));
                    }
                    // The participant that is elected now has just been seen.
                    seen.since = Some(Instant::now());
                }
                Ok(None) => {}
                Err(error) if error.is_retryable() => {
                    failures += 1;
                    tracing::debug!(election = self.key, %error, "cannot be elected; trying again");
                    sleep(FAILURE.pause(failures)).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            failures = 0;
        }
    }

    /// Waits until the entry is absent or released, or has not changed for the timeout.
    async fn wait_for_vacancy(
        &self,
        events: &mut WatchStream<Lease>,
        seen: &mut Seen,
    ) -> Result<(), ElectionError> {
        loop {
            let is_free = seen.lease.as_ref().is_none_or(|lease| lease.released);
            let at = match seen.since {
                Some(_) if is_free => return Ok(()),
                Some(since) => since + self.timing.timeout,
                // Until it is known what is there.
                None => Instant::now() + self.timing.timeout,
            };
            let event = tokio::select! {
                biased;
                event = events.next() => event.ok_or(ElectionError::ShutDown)?,
                () = sleep_until(at), if seen.since.is_some() => return Ok(()),
            };
            match event {
                WatchEvent::Put(_, lease) if seen.lease.as_ref() != Some(&lease) => {
                    *seen = Seen {
                        lease: Some(lease),
                        since: Some(Instant::now()),
                    };
                }
                WatchEvent::Deleted(_) => {
                    *seen = Seen {
                        lease: None,
                        since: Some(Instant::now()),
                    };
                }
                WatchEvent::Synced => {
                    seen.since.get_or_insert_with(Instant::now);
                }
                // A value that cannot be decoded fails the compare-and-swap, which says so.
                _ => {}
            }
        }
    }

    /// Writes the entry, if it is still what was seen; the token, if it was written.
    async fn try_elect(&self, holder: &str, seen: &mut Seen) -> Result<Option<u64>, StoreError> {
        let known = seen.lease.clone();
        let outcome = self
            .store
            .cas(&self.key, &mut |current| {
                let is_free = current.is_none_or(|lease| lease.released);
                if !is_free && current != known.as_ref() {
                    return CasUpdate::Keep;
                }
                CasUpdate::Put(Lease {
                    holder: holder.to_owned(),
                    token: current.map_or(0, |lease| lease.token).saturating_add(1),
                    renewals: 0,
                    released: false,
                })
            })
            .await?;
        match outcome {
            CasOutcome::Stored(lease) => Ok(Some(lease.token)),
            other => {
                *seen = Seen {
                    lease: other.into_value(),
                    since: Some(Instant::now()),
                };
                Ok(None)
            }
        }
    }

    /// Where a write takes time to reach all, two can be elected at once: whether it is this one.
    async fn is_settled(&self, holder: &str, term: &Term) -> Result<bool, ElectionError> {
        if self.timing.settle.is_zero() {
            return Ok(true);
        }
        sleep(self.timing.settle).await;
        loop {
            match self.renew(holder, term).await {
                Ok(renewed) => return Ok(renewed && !term.is_over()),
                Err(error) if !error.is_retryable() => return Err(error.into()),
                Err(_) if term.is_over() => return Ok(false),
                Err(_) => sleep(FAILURE.first).await,
            }
        }
    }

    /// Runs the work until it ends or the term does, and renews the term meanwhile.
    async fn hold<T>(
        &self,
        holder: &str,
        term: &Term,
        work: impl Future<Output = T>,
    ) -> Result<Ended<T>, ElectionError> {
        let mut work = pin!(work);
        // A process that was frozen may find everything ready at once: the clock first.
        let guarded = poll_fn(|context| match term.is_over() {
            true => Poll::Ready(Ended::Lost),
            false => work.as_mut().poll(context).map(Ended::Done),
        });
        tokio::select! {
            biased;
            () = term.over() => Ok(Ended::Lost),
            failed = self.keep_renewing(holder, term) => match failed {
                None => Ok(Ended::Lost),
                Some(error) => Err(error),
            },
            ended = guarded => Ok(ended),
        }
    }

    /// Renews the term until another participant is elected, or the store refuses.
    async fn keep_renewing(&self, holder: &str, term: &Term) -> Option<ElectionError> {
        let mut failures = 0;
        loop {
            let pause = match failures {
                0 => self.timing.renewal,
                _ => FAILURE.pause(failures).min(self.timing.renewal),
            };
            sleep(pause).await;
            match self.renew(holder, term).await {
                Ok(true) => failures = 0,
                Ok(false) => return None,
                Err(error) if error.is_retryable() => {
                    failures += 1;
                    let (election, remaining) = (&self.key, term.remaining());
                    tracing::debug!(election, ?remaining, %error, "cannot renew the term; trying again");
                }
                Err(error) => return Some(error.into()),
            }
        }
    }

    /// Renews the term, if it is still this participant's.
    async fn renew(&self, holder: &str, term: &Term) -> Result<bool, StoreError> {
        let before = Instant::now();
        let renewed = self
            .change(holder, term, |lease| {
                lease.renewals = lease.renewals.saturating_add(1);
            })
            .await?;
        if renewed {
            term.renewed(before + self.timing.term());
        }
        Ok(renewed)
    }

    /// Lets another participant be elected at once.
    async fn release(&self, holder: &str, term: &Term) {
        // If it fails, the others wait for the timeout.
        let released = self.change(holder, term, |lease| lease.released = true);
        if let Err(error) = released.await {
            tracing::debug!(election = self.key, %error, "cannot release the term");
        }
    }

    /// Changes the entry if it is of this term; whether it was.
    async fn change(
        &self,
        holder: &str,
        term: &Term,
        change: impl Fn(&mut Lease) + Send + Sync,
    ) -> Result<bool, StoreError> {
        let outcome = self
            .store
            .cas(&self.key, &mut |current| match current {
                Some(lease) if lease.holder == holder && lease.token == term.token() => {
                    let mut lease = lease.clone();
                    change(&mut lease);
                    CasUpdate::Put(lease)
                }
                _ => CasUpdate::Keep,
            })
            .await?;
        Ok(matches!(outcome, CasOutcome::Stored(_)))
    }
}
