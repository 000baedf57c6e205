//! The distinct (cluster, replica) pairs of one request, or the one of its first series.
//!
//! A sender chooses the pairs, so every lookup is O(1) whatever they are: tables have random keys,
//! each 2.0 symbol is hashed once however many series refer to it, and both the number of pairs
//! and the bytes that they copy are bounded.

use std::hash::{BuildHasher, Hash};
use std::str::from_utf8;

use ahash::RandomState;
use hashbrown::{HashMap, HashTable};

use crate::canonical::NO_REFERENCE;
use crate::error::{Problem, ScanError};
use crate::symbols::Symbols;
use crate::types::{Decides, Group, Mixed, Verdict};
use crate::wire::{Result, Span};

/// Distinct pairs in one request. Senders have one, or a few where they relay others.
const MAX_GROUPS: usize = 65_536;
/// Bytes of pairs in one request, or the bytes of the request if those are more. Only 2.0 could
/// exceed it: its series refer to the same long symbols again and again.
const MIN_TEXT_BUDGET: usize = 1 << 20;

/// Tables that are kept between requests.
#[derive(Default)]
pub(crate) struct GroupTables {
    hasher: RandomState,
    /// 1.0: groups by text.
    by_text: HashTable<u32>,
    /// 2.0: groups by the references of a series.
    by_references: HashMap<(u32, u32), u32, RandomState>,
    /// 2.0: the first seen of equal symbols, by reference and by text.
    first_of: HashMap<u32, u32, RandomState>,
    first_by_text: HashTable<u32>,
}

impl GroupTables {
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.by_text.allocation_size()
            + self.by_references.allocation_size()
            + self.first_of.allocation_size()
            + self.first_by_text.allocation_size()
    }

    fn clear(&mut self) {
        self.by_text.clear();
        self.by_references.clear();
        self.first_of.clear();
        self.first_by_text.clear();
    }
}

pub(crate) type Judge<'j> = dyn FnMut(&str, &str) -> Verdict + 'j;

pub(crate) struct Groups<'s, 'j> {
    pub(crate) list: Vec<Group>,
    /// A series of which the first one does not decide as it would for itself.
    pub(crate) mixed: Option<Mixed>,
    deciding: Deciding,
    /// Group of the series before, or of the one that decides; and its references.
    last: usize,
    last_references: (u32, u32),
    /// The group of all pairs that are not UTF-8.
    not_utf8: Option<usize>,
    tables: &'s mut GroupTables,
    text_budget: usize,
    judge: &'j mut Judge<'j>,
}

/// What decides on the next series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deciding {
    /// Its own labels.
    Itself,
    /// Its own labels, for all that come after it as well.
    ItselfForAll,
    /// The first series, which is of the last group.
    First,
    /// The first series, which is of no group.
    FirstOfNone,
}

/// What is known of a series at first sight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Belongs {
    /// To this group.
    To(usize),
    /// To no group.
    ToNone,
    /// It has to be found out.
    Unknown,
}

/// Which bytes of the request name a pair. Empty where the series has no such label.
#[derive(Clone, Copy)]
pub(crate) struct Pair<'a> {
    pub(crate) cluster: &'a [u8],
    pub(crate) replica: &'a [u8],
    /// Where an error points to.
    pub(crate) offset: usize,
}

impl<'s, 'j> Groups<'s, 'j> {
    pub(crate) fn new(
        tables: &'s mut GroupTables,
        request_bytes: usize,
        decides: Decides,
        judge: &'j mut Judge<'j>,
    ) -> Self {
        tables.clear();
        Self {
            list: Vec::new(),
            mixed: None,
            deciding: match decides {
                Decides::EachSeries => Deciding::Itself,
                Decides::FirstSeries => Deciding::ItselfForAll,
            },
            last: 0,
            last_references: (u32::MAX, u32::MAX),
            not_utf8: None,
            tables,
            text_budget: request_bytes.max(MIN_TEXT_BUDGET),
            judge,
        }
    }

    /// What a 1.0 series with these labels, empty where there is none, belongs to, unless it has to
    /// be found out.
    #[inline]
    pub(crate) fn at_sight_of_text(&mut self, cluster: &[u8], replica: &[u8]) -> Belongs {
        let is_pair = !cluster.is_empty() && !replica.is_empty();
        match self.deciding {
            Deciding::Itself if !is_pair => Belongs::ToNone,
            Deciding::Itself if self.is_last_text(cluster, replica) => Belongs::To(self.last),
            Deciding::Itself | Deciding::ItselfForAll => Belongs::Unknown,
            Deciding::First => {
                if self.mixed.is_none() && !self.is_last_text(cluster, replica) {
                    self.note_mixed(cluster, replica);
                }
                Belongs::To(self.last)
            }
            Deciding::FirstOfNone => {
                if self.mixed.is_none() && is_pair {
                    self.note_mixed(cluster, replica);
                }
                Belongs::ToNone
            }
        }
    }

    #[inline]
    fn is_last_text(&self, cluster: &[u8], replica: &[u8]) -> bool {
        self.list.get(self.last).is_some_and(|group| {
            group.cluster.as_bytes() == cluster && group.replica.as_bytes() == replica
        })
    }

    #[cold]
    fn note_mixed(&mut self, cluster: &[u8], replica: &[u8]) {
        self.mixed = Some(Mixed::new(cluster, replica));
    }

    /// The group of a 1.0 series; `None` if it belongs to none.
    pub(crate) fn of_text(&mut self, pair: Pair<'_>) -> Result<Option<usize>> {
        match self.at_sight_of_text(pair.cluster, pair.replica) {
            Belongs::To(group) => return Ok(Some(group)),
            Belongs::ToNone => return Ok(None),
            Belongs::Unknown => {}
        }
        if pair.cluster.is_empty() || pair.replica.is_empty() {
            return Ok(self.decide_for_none());
        }
        let group = self.find_text(pair)?;
        Ok(self.decide(group))
    }

    /// Takes note of the group that a series was found to be of.
    fn decide(&mut self, group: usize) -> Option<usize> {
        if self.deciding == Deciding::ItselfForAll && self.not_utf8 != Some(group) {
            self.deciding = Deciding::First;
        }
        self.last = group;
        Some(group)
    }

    /// The same for a series that was found to be of none.
    fn decide_for_none(&mut self) -> Option<usize> {
        if self.deciding == Deciding::ItselfForAll {
            self.deciding = Deciding::FirstOfNone;
        }
        None
    }

    fn find_text(&mut self, pair: Pair<'_>) -> Result<usize> {
        let hash_of =
            |cluster: &[u8], replica: &[u8]| self.tables.hasher.hash_one((cluster, replica));
        let hash = hash_of(pair.cluster, pair.replica);
        let list = &self.list;
        let same = |&index: &u32| {
            list.get(index as usize).is_some_and(|group| {
                group.cluster.as_bytes() == pair.cluster && group.replica.as_bytes() == pair.replica
            })
        };
        if let Some(&index) = self.tables.by_text.find(hash, same) {
            return Ok(index as usize);
        }
        let index = self.add(pair)?;
        if self.not_utf8 == Some(index) {
            return Ok(index);
        }
        let (list, hasher) = (&self.list, &self.tables.hasher);
        self.tables
            .by_text
            .insert_unique(hash, index as u32, |&index| {
                list.get(index as usize).map_or(0, |group| {
                    hasher.hash_one((group.cluster.as_bytes(), group.replica.as_bytes()))
                })
            });
        Ok(index)
    }

    /// What a 2.0 series belongs to whose labels have these values, [`NO_REFERENCE`] where there is
    /// none, unless it has to be found out.
    #[inline]
    pub(crate) fn at_sight_of_references(
        &mut self,
        references: (u32, u32),
        symbols: &Symbols,
        buf: &[u8],
    ) -> Belongs {
        let is_last = references == self.last_references;
        match self.deciding {
            Deciding::Itself if references.0 == NO_REFERENCE || references.1 == NO_REFERENCE => {
                Belongs::ToNone
            }
            Deciding::Itself if is_last => Belongs::To(self.last),
            Deciding::Itself | Deciding::ItselfForAll => Belongs::Unknown,
            Deciding::First => {
                if !is_last && self.mixed.is_none() {
                    self.compare_with_first(references, symbols, buf);
                }
                Belongs::To(self.last)
            }
            Deciding::FirstOfNone => {
                if self.mixed.is_none() && is_pair(references, symbols, buf) {
                    let (cluster, replica) = texts(references, symbols, buf);
                    self.note_mixed(cluster, replica);
                }
                Belongs::ToNone
            }
        }
    }

    /// Other references than the first series has can still have the same text: senders may repeat
    /// symbols. Each symbol is hashed once, however often series refer to it.
    #[cold]
    fn compare_with_first(&mut self, references: (u32, u32), symbols: &Symbols, buf: &[u8]) {
        let first = self.last_references;
        let is_same = is_pair(references, symbols, buf)
            && self.first_of(references.0, symbols, buf) == self.first_of(first.0, symbols, buf)
            && self.first_of(references.1, symbols, buf) == self.first_of(first.1, symbols, buf);
        if !is_same {
            let (cluster, replica) = texts(references, symbols, buf);
            self.note_mixed(cluster, replica);
        }
    }

    /// The group of a 2.0 series with these references, in range or [`NO_REFERENCE`]; `None` if it
    /// belongs to none.
    #[inline]
    pub(crate) fn of_references(
        &mut self,
        references: (u32, u32),
        symbols: &Symbols,
        buf: &[u8],
        offset: usize,
    ) -> Result<Option<usize>> {
        match self.at_sight_of_references(references, symbols, buf) {
            Belongs::To(group) => return Ok(Some(group)),
            Belongs::ToNone => return Ok(None),
            Belongs::Unknown => {}
        }
        if !is_pair(references, symbols, buf) {
            return Ok(self.decide_for_none());
        }
        let group = self.find_references(references, symbols, buf, offset)?;
        self.last_references = references;
        Ok(self.decide(group))
    }

    fn find_references(
        &mut self,
        references: (u32, u32),
        symbols: &Symbols,
        buf: &[u8],
        offset: usize,
    ) -> Result<usize> {
        if let Some(&index) = self.tables.by_references.get(&references) {
            return Ok(index as usize);
        }
        let firsts = (
            self.first_of(references.0, symbols, buf),
            self.first_of(references.1, symbols, buf),
        );
        let known = self.tables.by_references.get(&firsts).copied();
        let index = match known {
            Some(index) => index as usize,
            None => {
                let (cluster, replica) = (symbols.text(buf, firsts.0), symbols.text(buf, firsts.1));
                let index = self.add(Pair {
                    cluster,
                    replica,
                    offset,
                })?;
                self.tables.by_references.insert(firsts, index as u32);
                index
            }
        };
        self.tables.by_references.insert(references, index as u32);
        Ok(index)
    }

    fn first_of(&mut self, reference: u32, symbols: &Symbols, buf: &[u8]) -> u32 {
        let GroupTables {
            hasher,
            first_of,
            first_by_text,
            ..
        } = &mut *self.tables;
        *first_of.entry(reference).or_insert_with(|| {
            let text = symbols.text(buf, reference);
            let hash_of = |text: &[u8]| {
                let mut state = hasher.build_hasher();
                text.hash(&mut state);
                std::hash::Hasher::finish(&state)
            };
            *first_by_text
                .entry(
                    hash_of(text),
                    |&other| symbols.text(buf, other) == text,
                    |&other| hash_of(symbols.text(buf, other)),
                )
                .or_insert(reference)
                .get()
        })
    }

    #[cold]
    fn add(&mut self, pair: Pair<'_>) -> Result<usize> {
        let fail = |problem| {
            Err(ScanError {
                problem,
                field: "TimeSeries",
                series: None,
                offset: pair.offset,
            })
        };
        let bytes = pair.cluster.len() + pair.replica.len();
        if self.list.len() == MAX_GROUPS || bytes > self.text_budget {
            return fail(Problem::TooManyGroups { limit: MAX_GROUPS });
        }
        let label = match (from_utf8(pair.cluster), from_utf8(pair.replica)) {
            (Ok(cluster), Ok(replica)) => {
                self.text_budget -= bytes;
                let verdict = (self.judge)(cluster, replica);
                self.list.push(Group::new(cluster, replica, verdict));
                return Ok(self.list.len() - 1);
            }
            (Err(_), _) => "cluster",
            (_, Err(_)) => "replica",
        };
        Ok(self.add_not_utf8(label, pair.offset))
    }

    /// All such pairs are one group, whose names are empty: no series finds it by them.
    fn add_not_utf8(&mut self, label: &'static str, offset: usize) -> usize {
        if let Some(group) = self.not_utf8 {
            return group;
        }
        let group = self.list.len();
        self.not_utf8 = Some(group);
        self.list.push(Group {
            problem: Some(ScanError {
                problem: Problem::NotUtf8 { label },
                field: "TimeSeries",
                series: None,
                offset,
            }),
            ..Group::new("", "", Verdict::Drop)
        });
        group
    }
}

/// The values of both labels; empty for a reference out of range.
fn texts<'a>(
    (cluster, replica): (u32, u32),
    symbols: &'a Symbols,
    buf: &'a [u8],
) -> (&'a [u8], &'a [u8]) {
    (symbols.text(buf, cluster), symbols.text(buf, replica))
}

fn is_pair(references: (u32, u32), symbols: &Symbols, buf: &[u8]) -> bool {
    let (cluster, replica) = texts(references, symbols, buf);
    !cluster.is_empty() && !replica.is_empty()
}

/// Output that belongs to one group, for [`crate::Scan::discard`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) group: u32,
    pub(crate) output: Span,
}
