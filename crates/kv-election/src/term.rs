//! [`Term`]: one election, for the work that is done in it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// One election of one participant. Clones are the same term.
#[derive(Clone)]
pub struct Term {
    token: u64,
    /// Moves on with each renewal.
    until: Arc<watch::Sender<Instant>>,
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Term")
            .field("token", &self.token)
            .field("remaining", &self.remaining())
            .finish()
    }
}

impl Term {
    pub(crate) fn new(token: u64, until: Instant) -> Self {
        Self {
            token,
            until: Arc::new(watch::Sender::new(until)),
        }
    }

    /// The fencing token: larger than that of every election before. Send it with each write, and
    /// let the receiver refuse smaller ones than the largest it has seen.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// How long the term lasts at least, if it is not renewed. Zero when it is over. For work that
    /// cannot be dropped, such as a blocking call: begin it only if it takes less than this.
    pub fn remaining(&self) -> Duration {
        self.until
            .borrow()
            .saturating_duration_since(Instant::now())
    }

    /// Whether the term is over. Once it is, it stays so.
    pub fn is_over(&self) -> bool {
        self.remaining().is_zero()
    }

    /// Waits until the term is over. [`Send`], and cancel safe.
    pub async fn over(&self) {
        let mut changes = self.until.subscribe();
        loop {
            let until = *changes.borrow_and_update();
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(until) => return,
                // The sender is a field of self: it cannot be gone.
                _ = changes.changed() => {}
            }
        }
    }

    /// A renewal succeeded. A term that is over stays over.
    pub(crate) fn renewed(&self, until: Instant) {
        self.until.send_if_modified(|last| {
            let renews = *last > Instant::now() && until > *last;
            if renews {
                *last = until;
            }
            renews
        });
    }

    /// The term is over now: another participant has been elected, or this one has released it.
    pub(crate) fn end(&self) {
        self.until
            .send_modify(|last| *last = (*last).min(Instant::now()));
    }
}
