//! The states of clusters, in words.

use admin_api::ClusterState as State;
use maud::{Markup, html};

/// The state as a chip, with its meaning.
pub(super) fn chip(state: State) -> Markup {
    html! { b class={ "chip " (class(state)) } title=(meaning(state)) { (title(state)) } }
}

/// The state in a word or two.
pub(super) fn title(state: State) -> &'static str {
    match state {
        State::Silent => "Silent",
        State::FailoverDue => "Failover due",
        State::Late => "Late",
        State::Alone => "No standby seen",
        State::Fine => "Fine",
    }
}

/// What the state means.
pub(super) fn meaning(state: State) -> &'static str {
    match state {
        State::Silent => {
            "The elected replica has been silent for longer than the failover timeout, and no other replica is seen here: no samples of this cluster are stored"
        }
        State::FailoverDue => {
            "The elected replica is overdue, and another one sends: it is elected by its next request"
        }
        State::Late => {
            "The elected replica has been silent for most of the failover timeout: it has stopped, or sends rarely"
        }
        State::Alone => {
            "The elected replica sends. This distributor sees no other replica: it is down, or sends to another distributor"
        }
        State::Fine => {
            "The elected replica sends, to this distributor or to another one, and there is no problem"
        }
    }
}

fn class(state: State) -> &'static str {
    match state {
        State::Silent | State::FailoverDue => "bad",
        State::Late | State::Alone => "caution",
        State::Fine => "good",
    }
}
