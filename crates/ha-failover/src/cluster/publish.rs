//! Publishes this distributor's claim: one write at a time, the newest wish next.

use super::RETRY_MS;
use crate::{Claim, ClaimStage, Effect, Output, Term};

#[derive(Debug, Default)]
pub(super) struct Publisher {
    wanted: Option<(Term, ClaimStage)>,
    stored: Option<Claim>,
    writing: Option<Claim>,
    /// Version of the last write that was begun.
    version: i64,
    retry_ms: i64,
}

impl Publisher {
    /// This is to be stored.
    pub(super) fn want(&mut self, term: &Term, stage: ClaimStage) {
        let is_wanted = |(known, of): &(Term, ClaimStage)| known == term && *of == stage;
        if !self.wanted.as_ref().is_some_and(is_wanted) {
            self.wanted = Some((term.clone(), stage));
        }
    }

    /// Whether what is wanted is not stored.
    pub(super) fn is_due(&self) -> bool {
        match (&self.wanted, &self.stored) {
            (Some((term, stage)), Some(stored)) => {
                self.writing.is_some() || *term != stored.term || *stage != stored.stage
            }
            (wanted, _) => wanted.is_some(),
        }
    }

    /// Whether a claim for this term is stored, or may be.
    pub(super) fn may_be_stored(&self, term: &Term) -> bool {
        let is_of_it = |claim: &Claim| claim.term == *term;
        // A write that was given up can still take place: the version tells that there was one.
        self.stored.as_ref().is_some_and(is_of_it)
            || self.writing.as_ref().is_some_and(is_of_it)
            || self.wanted.as_ref().is_some_and(|(of, _)| of == term)
    }

    pub(super) fn flush<B>(&mut self, now_ms: i64, out: &mut Output<B>) {
        if self.writing.is_some() || !self.is_due() || now_ms < self.retry_ms {
            return;
        }
        let Some((term, stage)) = &self.wanted else {
            return;
        };
        self.version = now_ms.max(self.version.saturating_add(1));
        let claim = Claim {
            version: self.version,
            term: term.clone(),
            stage: *stage,
        };
        self.writing = Some(claim.clone());
        out.effects.push(Effect::WriteClaim(claim));
    }

    /// A write ended; returns what is stored by it.
    pub(super) fn written(&mut self, stored: bool, now_ms: i64) -> Option<&Claim> {
        let claim = self.writing.take()?;
        if !stored {
            self.retry_ms = now_ms.saturating_add(RETRY_MS);
            return None;
        }
        self.stored = Some(claim);
        self.stored.as_ref()
    }
}

impl Publisher {
    /// Whether it is closed for the plan with this id, or is to be.
    pub(super) fn is_closed_for(&self, id: i64) -> bool {
        matches!(self.wanted, Some((_, ClaimStage::Closed { plan, .. })) if plan == id)
    }
}
