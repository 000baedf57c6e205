//! What happens when: the phases of the demo. Pure: no clock inside.

use std::time::Duration;

/// Number of distributors.
pub(crate) const DISTRIBUTORS: usize = 3;
/// Label that names the HA pair.
pub(crate) const CLUSTER_LABEL: &str = "cluster";
/// Label that names the replica.
pub(crate) const REPLICA_LABEL: &str = "__replica__";
/// Series of one scrape.
pub(crate) const SERIES: usize = 200;

/// The phases, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Both replicas send; one is elected.
    BothSend,
    /// One of the distributors was killed; the others go on.
    Killed,
    /// The elected sender was stopped; the other's samples are still deduplicated.
    Stopped,
    /// The other one was elected.
    FailedOver,
    /// The first one is back; nothing changes.
    Returned,
    /// Everything in flight is finished.
    Draining,
}

impl Phase {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::BothSend,
        Self::Killed,
        Self::Stopped,
        Self::FailedOver,
        Self::Returned,
        Self::Draining,
    ];

    /// Two or three words.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::BothSend => "both send",
            Self::Killed => "one killed",
            Self::Stopped => "sender stopped",
            Self::FailedOver => "failed over",
            Self::Returned => "back",
            Self::Draining => "drain",
        }
    }
}

/// `--failover`: what the distributors' `limits.ha_failover_mode` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    /// Samples of the time of the failover are lost.
    Classic,
    /// They are held, and forwarded.
    #[default]
    Lossless,
}

impl Mode {
    /// As the configuration has it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Lossless => "lossless",
        }
    }
}

/// How long everything takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Script {
    pub(crate) mode: Mode,
    /// Of both senders.
    pub(crate) scrape_interval: Duration,
    pub(crate) update_timeout: Duration,
    /// At least the update timeout and 1 s: the configuration's rule.
    pub(crate) failover_timeout: Duration,
    /// The second sender begins so much later than the first: by then all distributors know whom
    /// they elected.
    pub(crate) second_sender: Duration,
    both_send: Duration,
    killed: Duration,
    failed_over: Duration,
    returned: Duration,
}

/// A phase that waits for the distributor is given up after its expected time and this much.
const GRACE: Duration = Duration::from_secs(10);

impl Script {
    /// For people.
    pub(crate) const FULL: Self = Self {
        mode: Mode::Lossless,
        scrape_interval: Duration::from_millis(250),
        update_timeout: Duration::from_secs(1),
        failover_timeout: Duration::from_secs(4),
        second_sender: Duration::from_secs(2),
        both_send: Duration::from_secs(8),
        killed: Duration::from_secs(7),
        failed_over: Duration::from_secs(6),
        returned: Duration::from_secs(5),
    };

    /// `--quick`.
    pub(crate) const QUICK: Self = Self {
        mode: Mode::Lossless,
        scrape_interval: Duration::from_millis(250),
        update_timeout: Duration::from_secs(1),
        failover_timeout: Duration::from_secs(3),
        second_sender: Duration::from_secs(1),
        both_send: Duration::from_millis(2500),
        killed: Duration::from_millis(1500),
        failed_over: Duration::from_millis(2000),
        returned: Duration::from_millis(1500),
    };

    /// How long it goes on after a distributor was killed. In lossless mode, until what that one can
    /// have forwarded is older than what comes after the failover.
    fn killed(&self) -> Duration {
        match self.mode {
            Mode::Classic => self.killed,
            Mode::Lossless => self.killed.max(Duration::from_secs(11)),
        }
    }

    /// About how long all of it takes.
    pub(crate) fn total(&self) -> Duration {
        self.both_send + self.killed() + self.failover_timeout + self.failed_over + self.returned
    }

    /// Whether it is time for the next phase: `since` is the age of this one, `is_done` whether
    /// the distributor did what the phase waits for (an election, a failover).
    ///
    /// # Errors
    /// What the distributor did not do in time.
    pub(crate) fn is_over(
        &self,
        phase: Phase,
        since: Duration,
        is_done: bool,
    ) -> Result<bool, &'static str> {
        let (least, most, missing) = match phase {
            Phase::BothSend => (self.both_send, GRACE, "no replica was elected"),
            Phase::Stopped => (
                Duration::ZERO,
                self.failover_timeout + GRACE,
                "there was no failover",
            ),
            Phase::Killed => return Ok(since >= self.killed()),
            Phase::FailedOver => return Ok(since >= self.failed_over),
            Phase::Returned => return Ok(since >= self.returned),
            Phase::Draining => return Ok(true),
        };
        if !is_done && since >= least + most {
            return Err(missing);
        }
        Ok(is_done && since >= least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_rule_holds() {
        for script in [Script::FULL, Script::QUICK] {
            assert!(script.failover_timeout >= script.update_timeout + Duration::from_secs(1));
        }
        assert!(Script::FULL.total() < Duration::from_secs(40));
        assert!(Script::QUICK.total() < Duration::from_secs(25));
    }

    #[test]
    fn phases_wait_for_the_distributor_but_not_forever() {
        let script = Script {
            mode: Mode::Classic,
            ..Script::FULL
        };
        let over =
            |phase, seconds, is_done| script.is_over(phase, Duration::from_secs(seconds), is_done);
        assert_eq!(over(Phase::BothSend, 7, true), Ok(false));
        assert_eq!(over(Phase::BothSend, 8, true), Ok(true));
        assert_eq!(over(Phase::BothSend, 15, false), Ok(false));
        assert!(over(Phase::BothSend, 18, false).is_err());
        assert_eq!(over(Phase::Killed, 6, true), Ok(false));
        assert_eq!(over(Phase::Killed, 7, false), Ok(true));
        assert_eq!(over(Phase::Stopped, 4, false), Ok(false));
        assert_eq!(over(Phase::Stopped, 4, true), Ok(true));
        assert!(over(Phase::Stopped, 14, false).is_err());
        assert_eq!(over(Phase::FailedOver, 6, false), Ok(true));
        assert_eq!(over(Phase::Returned, 4, true), Ok(false));
    }
}
