//! How often something may be done.

use std::time::Duration;

use tokio::time::Instant;

/// How often something may be done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) per_second: u32,
    /// This many after a pause.
    pub(super) at_once: u32,
}

/// This many a second, and some at once after a pause: a token bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: f64,
    most: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            per_second: rate.per_second.into(),
            most: rate.at_once.into(),
            tokens: rate.at_once.into(),
            at: Instant::now(),
        }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self) -> bool {
        let now = Instant::now();
        let elapsed = now.duration_since(self.at).as_secs_f64();
        self.at = now;
        self.tokens = (self.tokens + elapsed * self.per_second).min(self.most);
        let there = self.tokens >= 1.0;
        if there {
            self.tokens -= 1.0;
        }
        there
    }

    /// Returns a token.
    pub(super) fn give_back(&mut self) {
        self.tokens += 1.0;
    }

    /// Longest time until a token is available.
    pub(super) fn pause(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.per_second)
    }
}

/// At once, then after pauses that grow.
#[derive(Debug)]
pub(super) struct Pace {
    next: Option<Instant>,
    pause: Duration,
}

impl Pace {
    const FIRST: Duration = Duration::from_millis(200);
    const LAST: Duration = Duration::from_secs(60);

    pub(super) fn new() -> Self {
        Self {
            next: None,
            pause: Self::FIRST,
        }
    }

    /// Whether it is due; if so, counts it as done.
    pub(super) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        if self.next.is_some_and(|next| now < next) {
            return false;
        }
        self.next = Some(now + self.pause);
        self.pause = (self.pause * 2).min(Self::LAST);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_fills_again() {
        let mut bucket = Bucket::new(Rate {
            per_second: 10,
            at_once: 3,
        });
        let take_all = |bucket: &mut Bucket| (0..100).filter(|_| bucket.take()).count();
        assert_eq!(take_all(&mut bucket), 3);
        tokio::time::advance(bucket.pause()).await;
        assert_eq!(take_all(&mut bucket), 1);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(take_all(&mut bucket), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_minute() {
        let mut pace = Pace::new();
        let mut due = 0;
        for _ in 0..3000 {
            due += u32::from(pace.is_due());
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        // At 0, 0.2, 0.6, 1.4, 3, 6.2, 12.6, 25.4 and 51 s, and then once a minute.
        assert_eq!(due, 13);
    }
}
