//! To which of several receivers the next request goes, as a load balancer decides it.

use std::time::Duration;

use tokio::time::Instant;

/// How long a receiver that did not answer gets no requests.
const AVOID: Duration = Duration::from_secs(30);

/// Whose turn it is, and who did not answer.
pub(crate) struct Targets {
    next: usize,
    avoided_until: Vec<Option<Instant>>,
}

impl Targets {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            next: 0,
            avoided_until: vec![None; count],
        }
    }

    /// The next one that answers, as far as is known.
    pub(crate) fn take(&mut self) -> usize {
        let count = self.avoided_until.len().max(1);
        let now = Instant::now();
        let answers = |target: usize| match self.avoided_until.get(target) {
            Some(Some(until)) => *until <= now,
            _ => true,
        };
        let turn = (self.next..self.next + count).map(|target| target % count);
        let target = turn.clone().find(|target| answers(*target));
        let target = target.unwrap_or(self.next % count);
        self.next = (target + 1) % count;
        target
    }

    /// It gets no requests for a while.
    pub(crate) fn avoid(&mut self, target: usize) {
        if let Some(until) = self.avoided_until.get_mut(target) {
            *until = Some(Instant::now() + AVOID);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn receivers_take_turns_and_silent_ones_are_left_out() {
        let mut targets = Targets::new(3);
        let turns = |targets: &mut Targets| [(); 4].map(|()| targets.take());
        assert_eq!(turns(&mut targets), [0, 1, 2, 0]);
        targets.avoid(2);
        assert_eq!(turns(&mut targets), [1, 0, 1, 0]);
        targets.avoid(0);
        targets.avoid(1);
        assert_eq!(turns(&mut targets), [1, 2, 0, 1]);
        tokio::time::advance(AVOID).await;
        assert_eq!(turns(&mut targets), [2, 0, 1, 2]);
    }
}
