//! The rule that all of this is about: of one series, one sample per scrape interval is stored.

/// The samples of one series that arrived of one interval, by who sent them: `R` tells the replicas of
/// a pair apart.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slot<R> {
    /// Few: in order of arrival.
    arrived: Vec<(R, u32)>,
}

/// What one more sample is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The one sample of the interval.
    First,
    /// That of another replica: a deduplicating distributor must not have let it through.
    Doubled,
    /// The same as one before: sent again because its answer was lost. Every receiver stores it once.
    Repeated,
}

impl<R: PartialEq> Slot<R> {
    pub(crate) fn add(&mut self, replica: R) -> Arrival {
        if let Some((_, times)) = self.arrived.iter_mut().find(|(who, _)| *who == replica) {
            *times += 1;
            return Arrival::Repeated;
        }
        let arrival = if self.arrived.is_empty() {
            Arrival::First
        } else {
            Arrival::Doubled
        };
        self.arrived.push((replica, 1));
        arrival
    }

    /// How often the sample of a replica arrived.
    pub(crate) fn times(&self, replica: &R) -> u32 {
        let found = self.arrived.iter().find(|(who, _)| who == replica);
        found.map_or(0, |(_, times)| *times)
    }

    /// Nothing arrived.
    pub(crate) fn is_empty(&self) -> bool {
        self.arrived.is_empty()
    }

    /// Those of several replicas arrived.
    pub(crate) fn is_doubled(&self) -> bool {
        self.arrived.len() > 1
    }
}
