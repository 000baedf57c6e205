//! What this member says of itself.

use std::sync::Mutex;

use kv_core::lock;

use crate::status::MemberState;

/// What this member says that it does.
pub(super) struct OwnState(Mutex<MemberState>);

impl OwnState {
    pub(super) fn new() -> Self {
        Self(Mutex::new(MemberState::Joining))
    }

    pub(super) fn get(&self) -> MemberState {
        *lock(&self.0)
    }

    /// Takes the next state, and whether it did: a member that is leaving, or has left, does not come
    /// back.
    pub(super) fn set(&self, next: MemberState) -> bool {
        let mut state = lock(&self.0);
        let comes_back = next < *state && *state >= MemberState::Leaving;
        if !comes_back {
            *state = next;
        }
        !comes_back
    }
}
