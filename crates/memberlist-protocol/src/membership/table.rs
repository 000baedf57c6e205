//! What is known of all members, and the order in which they are probed.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::message::{Alive, State};

/// What is known of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it says of itself. Before it has said anything, its incarnation is 0.
    pub alive: Alive,
    /// What it is taken for.
    pub state: State,
    /// Since when.
    pub since: Duration,
}

impl Record {
    /// Whether it takes part: it answers, or may still say that it does.
    pub fn is_here(&self) -> bool {
        matches!(self.state, State::Alive | State::Suspect)
    }

    /// Another state, from now on.
    pub(super) fn become_(&mut self, state: State, now: Duration) {
        self.state = state;
        self.since = now;
    }
}

/// All members, this one included.
pub(super) struct Table {
    own: String,
    records: BTreeMap<String, Record>,
    /// Every name, in the order of probes.
    order: Vec<String>,
    /// The next of them.
    next: usize,
    /// Grows when a member is added or forgotten.
    generation: u64,
}

impl Table {
    pub(super) fn new(own: Alive, now: Duration) -> Self {
        let name = own.node.clone();
        let record = Record {
            alive: own,
            state: State::Alive,
            since: now,
        };
        Self {
            own: name.clone(),
            records: BTreeMap::from([(name.clone(), record)]),
            order: vec![name],
            next: 0,
            generation: 0,
        }
    }

    /// All members, those that are gone until they are forgotten.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn is_own(&self, name: &str) -> bool {
        self.own == name
    }

    pub(super) fn get(&self, name: &str) -> Option<&Record> {
        self.records.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Record> {
        self.records.get_mut(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// The other members.
    pub(super) fn others(&self) -> impl Iterator<Item = &Record> {
        self.iter().filter(|record| record.alive.node != self.own)
    }

    /// Adds a member that is not known, at a random place in the order of probes.
    pub(super) fn insert(&mut self, record: Record, rng: &mut StdRng) {
        let name = record.alive.node.clone();
        self.order.push(name.clone());
        let last = self.order.len() - 1;
        self.order.swap(rng.random_range(0..=last), last);
        self.records.insert(name, record);
        self.generation += 1;
    }

    /// Another one whenever the members are others.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The next other member that may be there; at most one way round. At the end of each round those
    /// that are gone since `forget_after` are forgotten, whose names are appended to `forgotten`, and
    /// the order is drawn again.
    pub(super) fn next_to_probe(
        &mut self,
        now: Duration,
        forget_after: Duration,
        rng: &mut StdRng,
        forgotten: &mut Vec<String>,
    ) -> Option<String> {
        for _ in 0..=self.order.len() {
            if self.next >= self.order.len() {
                self.next = 0;
                self.forget(now, forget_after, forgotten);
                self.order.shuffle(rng);
            }
            let name = self.order.get(self.next)?;
            self.next += 1;
            let is_here = self.records.get(name).is_some_and(Record::is_here);
            if is_here && *name != self.own {
                return Some(name.clone());
            }
        }
        None
    }

    fn forget(&mut self, now: Duration, forget_after: Duration, forgotten: &mut Vec<String>) {
        let own = &self.own;
        self.records.retain(|name, record| {
            let old = now.saturating_sub(record.since) > forget_after;
            let goes = !record.is_here() && old && name != own;
            if goes {
                forgotten.push(name.clone());
            }
            !goes
        });
        self.generation += 1;
        let records = &self.records;
        self.order.retain(|name| records.contains_key(name));
    }

    /// Up to `count` random other members of those that `fits` chooses.
    pub(super) fn sample(
        &self,
        count: usize,
        rng: &mut StdRng,
        fits: impl Fn(&Record) -> bool,
    ) -> Vec<&Record> {
        let mut chosen: Vec<&Record> = self.others().filter(|record| fits(record)).collect();
        let (drawn, _) = chosen.partial_shuffle(rng, count);
        drawn.to_vec()
    }
}
