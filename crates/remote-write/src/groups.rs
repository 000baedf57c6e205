//! The distinct (cluster, replica) pairs of one request.
//!
//! A sender chooses the pairs, so every lookup is O(1) whatever they are: tables have random keys,
//! each 2.0 symbol is hashed once however many series refer to it, and both the number of pairs
//! and the bytes that they copy are bounded.

use std::hash::{BuildHasher, Hash};
use std::str::from_utf8;

use ahash::RandomState;
use hashbrown::{HashMap, HashTable};

use crate::error::{Problem, ScanError};
use crate::symbols::Symbols;
use crate::types::{Group, Verdict};
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
    /// Group of the series before, and its references.
    last: usize,
    last_references: (u32, u32),
    /// The group of all pairs that are not UTF-8.
    not_utf8: Option<usize>,
    tables: &'s mut GroupTables,
    text_budget: usize,
    judge: &'j mut Judge<'j>,
}

/// Which bytes of the request name a pair.
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
        judge: &'j mut Judge<'j>,
    ) -> Self {
        tables.clear();
        Self {
            list: Vec::new(),
            last: 0,
            last_references: (u32::MAX, u32::MAX),
            not_utf8: None,
            tables,
            text_budget: request_bytes.max(MIN_TEXT_BUDGET),
            judge,
        }
    }

    /// The group of the 1.0 series before, if it had the same names.
    #[inline]
    pub(crate) fn of_same_text(&self, cluster: &[u8], replica: &[u8]) -> Option<usize> {
        let group = self.list.get(self.last)?;
        (group.cluster.as_bytes() == cluster && group.replica.as_bytes() == replica)
            .then_some(self.last)
    }

    /// The group of a 1.0 series.
    pub(crate) fn of_text(&mut self, pair: Pair<'_>) -> Result<usize> {
        self.last = match self.of_same_text(pair.cluster, pair.replica) {
            Some(group) => group,
            None => self.find_text(pair)?,
        };
        Ok(self.last)
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

    /// The group of the 2.0 series before, if it had the same references.
    #[inline]
    pub(crate) fn of_same_references(&self, references: (u32, u32)) -> Option<usize> {
        (references == self.last_references).then_some(self.last)
    }

    /// The group of a 2.0 series with these references, both in range; `None` if one is empty.
    #[inline]
    pub(crate) fn of_references(
        &mut self,
        references: (u32, u32),
        symbols: &Symbols,
        buf: &[u8],
        offset: usize,
    ) -> Result<Option<usize>> {
        if references == self.last_references {
            return Ok(Some(self.last));
        }
        if symbols.text(buf, references.0).is_empty() || symbols.text(buf, references.1).is_empty()
        {
            return Ok(None);
        }
        self.last = self.find_references(references, symbols, buf, offset)?;
        self.last_references = references;
        Ok(Some(self.last))
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

/// Output that belongs to one group, for [`crate::Scan::discard`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) group: u32,
    pub(crate) output: Span,
}
