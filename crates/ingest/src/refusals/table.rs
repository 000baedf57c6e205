//! Recent events by tenant and cause, with bounded memory and a bounded number of lines.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use ahash::RandomState;
use ha_tracker::Clock;
use tokio::time::Instant;

use super::occurrence::{Occurrence, Refusal};
use crate::cause::Cause;

/// Tenants that are remembered: more than an operator reads about. With all causes, and examples of
/// full length, that is 4 MB.
pub(super) const MAX_TENANTS: usize = 500;
/// Of each message, bytes.
const MAX_EXAMPLE: usize = 400;
/// Lines are bounded per so much time, and what has none is told of once in that time.
const WINDOW: Duration = Duration::from_secs(60);
/// What has not happened for so long is over.
const OVER: Duration = Duration::from_secs(10 * 60);
/// Where there is no room for another tenant, those that were quiet for so long go.
const QUIET: Duration = Duration::from_secs(60);
/// Time between two searches for such ones.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Table {
    state: Mutex<State>,
    /// Per [`WINDOW`], so that refusals of many tenants do not fill the log.
    max_lines: u32,
}

#[derive(Debug)]
struct State {
    tenants: HashMap<Box<str>, Vec<Entry>, RandomState>,
    window: Instant,
    /// Written in this window.
    lines: u32,
    /// Occurrences that no line tells of.
    unlisted: u64,
    told_unlisted: Option<Instant>,
    searched: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    cause: Cause,
    status: u16,
    count: u64,
    /// Of which no line has told.
    untold: u64,
    since_ms: i64,
    last_ms: i64,
    last: Instant,
    next_line: Instant,
    example: String,
    client: Option<IpAddr>,
}

/// A line that is to be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) tenant: String,
    pub(super) cause: Cause,
    pub(super) status: u16,
    pub(super) count: u64,
    pub(super) example: String,
    pub(super) client: Option<IpAddr>,
}

/// What is to be written now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) lines: Vec<Line>,
    /// Occurrences that had no line.
    pub(super) unlisted: Option<u64>,
}

impl Table {
    pub(super) fn new(max_lines: u32) -> Self {
        let state = State {
            tenants: HashMap::default(),
            window: Instant::now(),
            lines: 0,
            unlisted: 0,
            told_unlisted: None,
            searched: None,
        };
        Self {
            state: Mutex::new(state),
            max_lines,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        kv_core::lock(&self.state)
    }

    /// Remembers it; the line to be written, if one is due.
    pub(super) fn note(&self, occurrence: &Occurrence<'_>) -> Option<Line> {
        let now = Instant::now();
        let state = &mut *self.state();
        if !state.has_room(occurrence.tenant, now) {
            state.unlisted += occurrence.count;
            return None;
        }
        let may_write = state.lines_left(now, self.max_lines) > 0;
        let entry = state.entry(occurrence, now)?;
        entry.add(occurrence, now);
        if !may_write {
            return None;
        }
        let line = entry.line(occurrence.tenant, now)?;
        state.lines += 1;
        Some(line)
    }

    /// What is due though nothing new happened. Forgets what is over.
    pub(super) fn tick(&self) -> Due {
        let now = Instant::now();
        let state = &mut *self.state();
        let mut due = Due::default();
        let left = state.lines_left(now, self.max_lines) as usize;
        state.tenants.retain(|tenant, entries| {
            entries.retain_mut(|entry| {
                if due.lines.len() < left {
                    due.lines.extend(entry.line(tenant, now));
                }
                let is_over = now.duration_since(entry.last) >= OVER;
                if is_over {
                    state.unlisted += entry.untold;
                }
                !is_over
            });
            !entries.is_empty()
        });
        state.lines += due.lines.len() as u32;
        let may_tell = state
            .told_unlisted
            .is_none_or(|told| now.duration_since(told) >= WINDOW);
        if may_tell && state.unlisted > 0 {
            state.told_unlisted = Some(now);
            due.unlisted = Some(std::mem::take(&mut state.unlisted));
        }
        due
    }

    pub(super) fn list(&self, is_known: bool) -> Vec<Refusal> {
        let state = self.state();
        let each = state.tenants.iter().flat_map(|(tenant, entries)| {
            entries.iter().map(move |entry| Refusal {
                tenant: tenant.to_string(),
                is_known,
                cause: entry.cause,
                count: entry.count,
                since_ms: entry.since_ms,
                last_ms: entry.last_ms,
                example: entry.example.clone(),
                client: entry.client,
            })
        });
        each.collect()
    }
}

impl State {
    /// Whether the tenant is here, or can be.
    fn has_room(&mut self, tenant: &str, now: Instant) -> bool {
        if self.tenants.len() < MAX_TENANTS || self.tenants.contains_key(tenant) {
            return true;
        }
        if self
            .searched
            .is_some_and(|searched| now.duration_since(searched) < SEARCH_INTERVAL)
        {
            return false;
        }
        self.searched = Some(now);
        let unlisted = &mut self.unlisted;
        self.tenants.retain(|_, entries| {
            let is_quiet = entries
                .iter()
                .all(|entry| now.duration_since(entry.last) >= QUIET);
            if is_quiet {
                *unlisted += entries.iter().map(|entry| entry.untold).sum::<u64>();
            }
            !is_quiet
        });
        self.tenants.len() < MAX_TENANTS
    }

    fn lines_left(&mut self, now: Instant, most: u32) -> u32 {
        if now.duration_since(self.window) >= WINDOW {
            self.window = now;
            self.lines = 0;
        }
        most.saturating_sub(self.lines)
    }

    /// The one of its tenant and cause.
    fn entry(&mut self, occurrence: &Occurrence<'_>, now: Instant) -> Option<&mut Entry> {
        if !self.tenants.contains_key(occurrence.tenant) {
            self.tenants.insert(occurrence.tenant.into(), Vec::new());
        }
        let entries = self.tenants.get_mut(occurrence.tenant)?;
        let known = entries
            .iter()
            .position(|entry| entry.cause == occurrence.cause);
        let index = known.unwrap_or(entries.len());
        if known.is_none() {
            entries.push(Entry::new(occurrence.cause, now));
        }
        entries.get_mut(index)
    }
}

impl Entry {
    fn new(cause: Cause, now: Instant) -> Self {
        let now_ms = Clock::System.now_ms();
        Self {
            cause,
            status: 0,
            count: 0,
            untold: 0,
            since_ms: now_ms,
            last_ms: now_ms,
            last: now,
            next_line: now,
            example: String::new(),
            client: None,
        }
    }

    fn add(&mut self, occurrence: &Occurrence<'_>, now: Instant) {
        self.status = occurrence.status;
        self.count += occurrence.count;
        self.untold += occurrence.count;
        self.last_ms = Clock::System.now_ms();
        self.last = now;
        self.client = occurrence.client;
        let end = occurrence.message.floor_char_boundary(MAX_EXAMPLE);
        self.example.clear();
        self.example
            .push_str(occurrence.message.get(..end).unwrap_or_default());
    }

    fn line(&mut self, tenant: &str, now: Instant) -> Option<Line> {
        if self.untold == 0 || now < self.next_line {
            return None;
        }
        self.next_line = now + self.cause.line_every();
        Some(Line {
            tenant: tenant.to_owned(),
            cause: self.cause,
            status: self.status,
            count: std::mem::take(&mut self.untold),
            example: self.example.clone(),
            client: self.client,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occurrence(tenant: &str, cause: Cause) -> Occurrence<'_> {
        Occurrence {
            tenant,
            cause,
            count: 1,
            status: 400,
            message: "wrong",
            client: None,
        }
    }

    fn told(line: Option<Line>) -> Option<u64> {
        line.map(|line| line.count)
    }

    #[tokio::test(start_paused = true)]
    async fn one_line_per_tenant_cause_and_minute_tells_how_many_there_were() {
        let table = Table::new(100);
        let note = |tenant, cause| told(table.note(&occurrence(tenant, cause)));
        assert_eq!(note("a", Cause::Malformed), Some(1));
        for _ in 0..5 {
            assert_eq!(note("a", Cause::Malformed), None);
        }
        assert_eq!(note("a", Cause::TooLarge), Some(1));
        assert_eq!(note("b", Cause::Malformed), Some(1));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(table.tick(), Due::default());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(note("a", Cause::Malformed), Some(6));
        assert_eq!(table.tick(), Due::default(), "all has been told");
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_after_the_line_is_told_though_nothing_follows() {
        let table = Table::new(100);
        for _ in 0..3 {
            table.note(&occurrence("a", Cause::RateLimited));
        }
        tokio::time::advance(WINDOW).await;
        let lines = table.tick().lines;
        assert_eq!(
            lines
                .iter()
                .map(|line| (line.count, &*line.example))
                .collect::<Vec<_>>(),
            [(2, "wrong")]
        );
        assert_eq!(table.tick(), Due::default());
    }

    #[tokio::test(start_paused = true)]
    async fn made_up_tenants_fill_neither_the_memory_nor_the_log() {
        let table = Table::new(10);
        let mut lines = 0;
        for number in 0..100_000 {
            let tenant = format!("made-up-{number}");
            lines += u64::from(table.note(&occurrence(&tenant, Cause::Malformed)).is_some());
        }
        assert_eq!(lines, 10);
        assert_eq!(table.list(false).len(), MAX_TENANTS);
        let due = table.tick();
        assert_eq!(due.lines, []);
        assert_eq!(due.unlisted, Some(100_000 - MAX_TENANTS as u64));
        // Earlier ones are not logged twice, and quiet ones are evicted.
        tokio::time::advance(QUIET).await;
        assert_eq!(
            told(table.note(&occurrence("new", Cause::Malformed))),
            Some(1)
        );
        assert_eq!(table.list(false).len(), 1);
        assert_eq!(table.tick().unlisted, Some(MAX_TENANTS as u64 - 10));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_forgotten() {
        let table = Table::new(10);
        table.note(&occurrence("a", Cause::NoTenant));
        tokio::time::advance(OVER / 2).await;
        table.note(&occurrence("a", Cause::Malformed));
        table.tick();
        tokio::time::advance(OVER / 2).await;
        table.tick();
        let left: Vec<_> = table.list(true).iter().map(|one| one.cause).collect();
        assert_eq!(left, [Cause::Malformed]);
        tokio::time::advance(OVER).await;
        table.tick();
        assert_eq!(table.list(true), []);
    }

    #[test]
    fn an_example_is_cut_between_characters() {
        let table = Table::new(10);
        let message = "é".repeat(MAX_EXAMPLE);
        table.note(&Occurrence {
            message: &message,
            ..occurrence("a", Cause::Malformed)
        });
        let example = &table.list(true)[0].example;
        assert_eq!(example, &"é".repeat(MAX_EXAMPLE / 2));
    }
}
