//! What is believed of what is said of members.
//!
//! Nothing here depends on the order in which messages come: Go's members take the newest first.

use std::time::Duration;

use super::suspicion::{Bounds, Suspicion};
use super::{DEFAULT_PORT, Event, MAX_NAME, Node, Record, Refusal};
use crate::message::{Accusation, Alive, MAX_META, Message, NodeState, State, Vsn};

/// Bytes of a name that an event shows.
const SHOWN_NAME: usize = 64;

impl Node {
    /// Another member, or the member itself, says that it is alive.
    pub(super) fn alive(&mut self, now: Duration, mut alive: Alive) {
        let is_own = self.table.is_own(&alive.node);
        if self.leaving && is_own {
            return;
        }
        if let Err(why) = check(&alive) {
            self.refuse(&alive.node, why);
            return;
        }
        if alive.port == 0 {
            alive.port = DEFAULT_PORT;
        }
        let Some(record) = self.table.get(&alive.node) else {
            self.meet(now, alive);
            return;
        };
        let moved = (record.alive.addr, record.alive.port) != (alive.addr, alive.port);
        if moved && !self.may_move(record, now) {
            let event = Event::Conflict {
                known: record.alive.addr.socket(record.alive.port),
                claimed: alive.addr.socket(alive.port),
                node: alive.node,
            };
            self.event(event);
            return;
        }
        let known = record.alive.incarnation;
        if is_own {
            if alive.incarnation >= known && alive != record.alive {
                self.refute(alive.incarnation);
            }
            return;
        }
        if !moved && alive.incarnation <= known {
            return;
        }
        self.believe(now, alive);
    }

    /// A member that is not known says, or is said, to be there.
    fn meet(&mut self, now: Duration, alive: Alive) {
        // Where its incarnation begins, nothing is believed of it.
        if alive.incarnation == 0 {
            return;
        }
        if self.table.len() >= self.config.max_nodes {
            self.refuse(&alive.node, Refusal::Full);
            return;
        }
        let unheard = Record {
            alive: Alive {
                incarnation: 0,
                ..alive.clone()
            },
            state: State::Dead,
            since: now,
        };
        self.table.insert(unheard, &mut self.rng);
        self.believe(now, alive);
    }

    /// Whether a member's name can go to another address.
    fn may_move(&self, record: &Record, now: Duration) -> bool {
        let after = self.config.reclaim_after;
        match record.state {
            State::Left => true,
            State::Dead => !after.is_zero() && now.saturating_sub(record.since) > after,
            State::Alive | State::Suspect => false,
        }
    }

    /// What another member says of itself is news.
    fn believe(&mut self, now: Duration, alive: Alive) {
        self.suspicions.remove(&alive.node);
        self.tell_of(Message::Alive(alive.clone()));
        let Some(record) = self.table.get_mut(&alive.node) else {
            return;
        };
        let name = alive.node.clone();
        let changed = (&record.alive.meta, record.alive.vsn, record.alive.addr)
            != (&alive.meta, alive.vsn, alive.addr)
            || record.alive.port != alive.port;
        let was = record.state;
        record.alive = alive;
        if was != State::Alive {
            record.become_(State::Alive, now);
        }
        match was {
            State::Dead | State::Left => self.event(Event::Joined(name)),
            State::Suspect => self.event(Event::Cleared(name)),
            State::Alive if changed => self.event(Event::Changed(name)),
            State::Alive => {}
        }
    }

    /// A member did not answer another one.
    pub(super) fn suspect(&mut self, now: Duration, accusation: Accusation) {
        let Accusation {
            incarnation,
            node,
            from,
        } = &accusation;
        let (nodes, is_own) = (self.table.len(), self.table.is_own(node));
        let Some(record) = self.table.get_mut(node) else {
            return;
        };
        if *incarnation < record.alive.incarnation || from.len() > MAX_NAME {
            return;
        }
        if let Some(suspicion) = self.suspicions.get_mut(node) {
            if suspicion.confirm(from.clone()) {
                self.tell_of(Message::Suspect(accusation));
            }
            return;
        }
        if record.state != State::Alive {
            return;
        }
        if is_own {
            self.refute(*incarnation);
            return;
        }
        record.alive.incarnation = *incarnation;
        record.become_(State::Suspect, now);
        let config = &self.config;
        let bounds = Bounds::new(
            config.suspicion_factor,
            config.suspicion_max_factor,
            nodes,
            config.probe_interval,
        );
        let suspicion = Suspicion::new(*incarnation, from.clone(), bounds, now);
        self.suspicions.insert(node.clone(), suspicion);
        self.event(Event::Suspected {
            node: node.clone(),
            by: from.clone(),
        });
        self.tell_of(Message::Suspect(accusation));
    }

    /// A member was suspected for too long, or says itself that it leaves.
    pub(super) fn dead(&mut self, now: Duration, accusation: Accusation) {
        let Accusation {
            incarnation,
            node,
            from,
        } = &accusation;
        let is_own = self.table.is_own(node);
        let Some(record) = self.table.get_mut(node) else {
            return;
        };
        if *incarnation < record.alive.incarnation || from.len() > MAX_NAME {
            return;
        }
        self.suspicions.remove(node);
        if !record.is_here() {
            return;
        }
        if is_own {
            if !self.leaving {
                self.refute(*incarnation);
            }
            return;
        }
        record.alive.incarnation = *incarnation;
        let state = if node == from {
            State::Left
        } else {
            State::Dead
        };
        record.become_(state, now);
        self.event(Event::Gone {
            node: node.clone(),
            state,
        });
        self.tell_of(Message::Dead(accusation));
    }

    /// Says that this member leaves.
    pub(super) fn say_own_end(&mut self, now: Duration) {
        let name = self.config.name.clone();
        let Some(record) = self.table.get_mut(&name) else {
            return;
        };
        record.become_(State::Left, now);
        let end = Accusation {
            incarnation: record.alive.incarnation,
            node: name.clone(),
            from: name,
        };
        self.tell_of(Message::Dead(end));
    }

    /// Others believe something of this member that is wrong, with this incarnation: it says what is
    /// right, with a higher one.
    fn refute(&mut self, accused: u32) {
        let name = self.config.name.clone();
        let Some(record) = self.table.get_mut(&name) else {
            return;
        };
        let highest = record.alive.incarnation.max(accused);
        let Some(incarnation) = highest.checked_add(1) else {
            self.refuse(&name, Refusal::Incarnation);
            return;
        };
        record.alive.incarnation = incarnation;
        let alive = record.alive.clone();
        self.score(1);
        self.event(Event::Refuted { incarnation });
        self.tell_of(Message::Alive(alive));
    }

    /// Another member knows this of one. What it takes for dead may only not have answered it.
    pub(super) fn merge_state(&mut self, now: Duration, state: NodeState) {
        let NodeState { alive, state } = state;
        if let Err(why) = check(&alive) {
            self.refuse(&alive.node, why);
            return;
        }
        let accusation = |from: String| Accusation {
            incarnation: alive.incarnation,
            node: alive.node.clone(),
            from,
        };
        match state {
            State::Alive => self.alive(now, alive),
            State::Left => self.dead(now, accusation(alive.node.clone())),
            State::Dead | State::Suspect => {
                self.suspect(now, accusation(self.config.name.clone()));
            }
        }
    }

    /// Those that were suspected for too long are dead.
    pub(super) fn poll_suspicions(&mut self, now: Duration) {
        let due = self.suspicions.iter();
        let due: Vec<Accusation> = due
            .filter(|(_, suspicion)| suspicion.deadline() <= now)
            .map(|(node, suspicion)| Accusation {
                incarnation: suspicion.incarnation,
                node: node.clone(),
                from: self.config.name.clone(),
            })
            .collect();
        for accusation in due {
            self.dead(now, accusation);
        }
    }

    fn refuse(&mut self, name: &str, why: Refusal) {
        self.event(Event::Refused {
            node: name.chars().take(SHOWN_NAME).collect(),
            why,
        });
    }
}

/// What is said of a member must be such that all members can believe it. Go's members require of all
/// that they know that each speaks a version that all others understand, so one that does not speak
/// ours, as all do in dskit's rings, would end every exchange of states.
fn check(alive: &Alive) -> Result<(), Refusal> {
    let Vsn([least, most, spoken, delegate_least, _, delegate_spoken]) = alive.vsn;
    let Vsn([_, _, ours, _, _, delegate_ours]) = Vsn::OURS;
    let understands = least <= ours && ours <= most && delegate_least <= delegate_ours;
    if !understands || (spoken, delegate_spoken) != (ours, delegate_ours) {
        return Err(Refusal::Versions);
    }
    if alive.meta.len() > MAX_META {
        return Err(Refusal::Meta);
    }
    if alive.node.is_empty() || alive.node.len() > MAX_NAME {
        return Err(Refusal::Name);
    }
    Ok(())
}
