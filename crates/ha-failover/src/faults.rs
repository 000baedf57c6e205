//! Mistakes to be made on purpose, so that a simulation shows that it finds them.

/// Rules to break. All are kept by default; only simulations set any.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Samples before the boundary are accepted.
    pub no_boundary: bool,
    /// The boundary is the elector's own watermark.
    pub own_boundary: bool,
    /// The boundary has no guard.
    pub no_guard: bool,
    /// Everything is replayed at once.
    pub no_slices: bool,
    /// Live requests do not wait for replays.
    pub no_barrier: bool,
    /// Claims are not closed.
    pub no_closing: bool,
    /// What is in flight is not waited for.
    pub no_draining: bool,
    /// Claims open without a check for plans.
    pub no_check: bool,
    /// Standbys are deduplicated although the elected replica is late.
    pub no_refusal: bool,
    /// Standbys are not held.
    pub no_hold: bool,
    /// A replica counts as silent whatever the closed claims say.
    pub no_excuse: bool,
    /// The hold has no bound.
    pub no_bound: bool,
}
