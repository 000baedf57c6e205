//! What a seed stands for: the fleet, the senders, and what goes wrong.

use ha_failover::{Faults, Settings};

use super::rng::Rng;

/// Kinds of scenarios. Those that are *calm* have one failure, after which nothing may be lost but
/// what the elected replica had not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// The elected replica dies.
    Death,
    /// It restarts, faster or slower than the failover timeout.
    Restart,
    /// An operator elects another.
    ByHand,
    /// The downstream refuses everything for a while; no replica dies.
    Outage,
    /// Anything, several times, but no distributor is cut off from the store for long.
    Chaos,
    /// A replica's clock is far ahead.
    Future,
    /// Distributors are cut off for long, or from each other. Two sides may then both accept: only
    /// bounds and the return to order are checked.
    Split,
    /// Some distributors elect like Mimir's, without plans: as `Split`.
    Mixed,
}

pub(crate) const CLASSES: [Class; 8] = [
    Class::Death,
    Class::Restart,
    Class::ByHand,
    Class::Outage,
    Class::Chaos,
    Class::Future,
    Class::Split,
    Class::Mixed,
];

impl Class {
    pub(crate) fn is_calm(self) -> bool {
        matches!(
            self,
            Class::Death | Class::Restart | Class::ByHand | Class::Outage
        )
    }

    /// Whether the order of samples is promised.
    pub(crate) fn is_ordered(self) -> bool {
        !matches!(self, Class::Split | Class::Mixed)
    }
}

/// What goes wrong, and when, ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    KillElected {
        restart_ms: Option<i64>,
    },
    KillReplica {
        restart_ms: Option<i64>,
    },
    KillDistributor {
        restart_ms: i64,
    },
    CutOff {
        for_ms: i64,
    },
    StoreSlow {
        for_ms: i64,
    },
    StoreDown {
        for_ms: i64,
    },
    DownstreamSlow {
        for_ms: i64,
    },
    /// `stores`: what it refuses may be stored all the same.
    DownstreamDown {
        for_ms: i64,
        stores: bool,
    },
    HandOver,
}

/// Rules of the simulated tracker to break.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TrackerFaults {
    /// A replica that was refused counts as silent.
    pub refused_is_silent: bool,
    /// The failover timeout is the same for replicas with long intervals.
    pub no_cadence: bool,
    /// No replica is ever overdue.
    pub never_fails_over: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub seed: u64,
    pub class: Class,
    pub distributors: usize,
    pub foreign: usize,
    pub replicas: usize,
    pub shards: usize,
    pub targets: usize,
    pub series_per_target: usize,
    pub interval_ms: i64,
    pub batch_ms: i64,
    pub batch: usize,
    /// Waits up to a minute between attempts, as vmagent does.
    pub is_slow_to_retry: bool,
    /// Gossip instead of a store that is linearizable.
    pub gossip: bool,
    pub settings: Settings,
    pub future_replica: bool,
    pub mishaps: Vec<(i64, Mishap)>,
    pub until_ms: i64,
    pub faults: Faults,
    pub tracker_faults: TrackerFaults,
}

impl Scenario {
    /// The scenario of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let class = CLASSES[rng.below(CLASSES.len())];
        Self::of_class(seed, class)
    }

    pub(crate) fn of_class(seed: u64, class: Class) -> Self {
        let mut rng = Rng::new(seed.wrapping_mul(31).wrapping_add(class as u64));
        let distributors = if rng.chance(4) {
            rng.range(20, 51)
        } else {
            rng.range(3, 9)
        } as usize;
        let interval_ms = rng.pick(&[5_000, 10_000, 15_000, 15_000, 15_000, 30_000, 60_000]);
        let gossip = rng.chance(50);
        let cadence_ms = interval_ms;
        let late_after_ms = 22_000.max(cadence_ms * 2);
        let failover_ms = 30_000.max(cadence_ms * 5 / 2);
        let settings = Settings {
            slice_ms: rng.pick(&[1_000, 2_000, 4_000]),
            settle_ms: if gossip { 1_000 } else { 0 },
            late_after_ms,
            hold_ms: 2 * failover_ms + 15_000,
            interval_ms,
            hold_bytes: if class == Class::Chaos && rng.chance(30) {
                rng.range(500, 8_000) as u64
            } else {
                1 << 20
            },
            ..Settings::default()
        };
        let mut scenario = Self {
            seed,
            class,
            distributors,
            foreign: 0,
            replicas: rng.range(2, 5) as usize,
            shards: rng.range(1, 5) as usize,
            targets: rng.range(1, 5) as usize,
            series_per_target: rng.range(1, 4) as usize,
            interval_ms,
            batch_ms: rng.pick(&[1_000, 5_000]),
            batch: rng.pick(&[3, 20, 200]),
            is_slow_to_retry: rng.chance(20),
            gossip,
            settings,
            future_replica: class == Class::Future,
            mishaps: Vec::new(),
            until_ms: 180_000 + 4 * failover_ms,
            faults: Faults::default(),
            tracker_faults: TrackerFaults::default(),
        };
        scenario.add_mishaps(&mut rng);
        scenario
    }

    fn add_mishaps(&mut self, rng: &mut Rng) {
        let at_ms = self.interval_ms * 2 + rng.range(20_000, 60_000);
        let failover_ms = (self.settings.hold_ms - 15_000) / 2;
        let mut add = |at_ms: i64, mishap| self.mishaps.push((at_ms, mishap));
        match self.class {
            Class::Death => {
                if rng.chance(30) {
                    add(at_ms - 5_000, Mishap::DownstreamSlow { for_ms: 120_000 });
                }
                if rng.chance(20) {
                    add(at_ms, Mishap::StoreSlow { for_ms: 60_000 });
                }
                add(at_ms, Mishap::KillElected { restart_ms: None });
            }
            Class::Restart => {
                let restart_ms = Some(rng.range(1_000, failover_ms + 30_000));
                add(at_ms, Mishap::KillElected { restart_ms });
            }
            Class::ByHand => add(at_ms, Mishap::HandOver),
            Class::Outage => {
                let (for_ms, stores) = (rng.range(5_000, 150_000), rng.chance(30));
                add(at_ms, Mishap::DownstreamDown { for_ms, stores });
                self.until_ms += 150_000;
            }
            Class::Chaos | Class::Future | Class::Split | Class::Mixed => {
                let count = rng.range(2, 9);
                let span_ms = self.until_ms - 100_000;
                for _ in 0..count {
                    let at_ms = rng.range(5_000, span_ms);
                    let mishap = any(self.class, rng);
                    add(at_ms, mishap);
                }
                if self.class == Class::Mixed {
                    self.foreign = rng.range(1, 3) as usize;
                }
                self.until_ms += 2 * failover_ms + 60_000;
            }
        }
        self.mishaps.sort_by_key(|(at_ms, _)| *at_ms);
    }
}

fn any(class: Class, rng: &mut Rng) -> Mishap {
    let restart_ms = rng.chance(80).then(|| rng.range(1_000, 90_000));
    match rng.below(10) {
        0 | 1 => Mishap::KillElected { restart_ms },
        2 => Mishap::KillReplica { restart_ms },
        3 => Mishap::KillDistributor {
            restart_ms: rng.range(2_000, 60_000),
        },
        4 => Mishap::CutOff {
            // Shorter than it takes to be considered dead.
            for_ms: if class == Class::Split {
                rng.range(1_000, 120_000)
            } else {
                rng.range(300, 1_200)
            },
        },
        5 => Mishap::StoreSlow {
            for_ms: rng.range(5_000, 60_000),
        },
        6 => Mishap::StoreDown {
            for_ms: rng.range(500, 60_000),
        },
        7 => Mishap::DownstreamSlow {
            for_ms: rng.range(5_000, 60_000),
        },
        8 => Mishap::DownstreamDown {
            for_ms: rng.range(1_000, 60_000),
            stores: rng.chance(50),
        },
        _ => Mishap::HandOver,
    }
}
