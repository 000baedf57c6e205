//! What senders were refused, for the log and for pages: by tenant and cause.
//!
//! A sender that is refused says so at its own end only. So each (tenant, cause) has a line in our
//! log as well: at once, then one per minute for as long as it lasts, with how often it happened.
//! Tenants are whatever senders write into a header: what is remembered is bounded, and so are the
//! lines per minute. Tenants that have sent something valid have a table of their own, which those
//! that were made up cannot fill.

mod occurrence;
mod table;

pub(crate) use occurrence::Occurrence;
pub use occurrence::Refusal;
use table::{Line, Table};

/// Lines per minute about tenants that have sent something valid, and about all others.
const MAX_LINES: u32 = 60;
const MAX_LINES_OF_STRANGERS: u32 = 10;

/// Recent events.
#[derive(Debug)]
pub(crate) struct Refusals {
    known: Table,
    strangers: Table,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            known: Table::new(MAX_LINES),
            strangers: Table::new(MAX_LINES_OF_STRANGERS),
        }
    }
}

impl Refusals {
    /// Remembers it, and writes a line if one is due.
    pub(crate) fn note(&self, is_known: bool, occurrence: &Occurrence<'_>) {
        let table = match is_known {
            true => &self.known,
            false => &self.strangers,
        };
        if let Some(line) = table.note(occurrence) {
            line.write();
        }
    }

    /// Writes the lines that became due, and forgets what is long over; to be called every few
    /// seconds.
    pub(crate) fn tick(&self) {
        for (table, whose) in [
            (&self.known, "tenants known here"),
            (&self.strangers, "tenants that never sent anything valid"),
        ] {
            let due = table.tick();
            due.lines.iter().for_each(Line::write);
            if let Some(count) = due.unlisted {
                tracing::warn!(
                    count,
                    whose,
                    "more push requests are refused than are logged one by one"
                );
            }
        }
    }

    /// By tenant and cause.
    pub(crate) fn list(&self) -> Vec<Refusal> {
        let mut list = self.known.list(true);
        list.extend(self.strangers.list(false));
        list.sort_by(|a, b| (&a.tenant, a.cause).cmp(&(&b.tenant, b.cause)));
        list
    }
}

impl Line {
    fn write(&self) {
        let Self {
            tenant,
            cause,
            status,
            count,
            example,
            client,
        } = self;
        let client = client.map(tracing::field::display);
        let what = match cause.counts_samples() {
            true => "samples may be stored twice",
            false => "push requests are refused",
        };
        let status = (*status > 0).then_some(*status);
        tracing::warn!(
            tenant,
            cause = cause.name(),
            status,
            count,
            client,
            "{what}: {example}"
        );
    }
}
