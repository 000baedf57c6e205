//! The store: one value of each key, or a view of each member.

use std::collections::BTreeMap;

use ha_failover::{Claim, Plan, Term};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Entry,
    Plan,
    Claim(String),
    Beat(String),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Entry(Term, i64),
    Plan(Plan),
    Claim(Claim),
    Beat(i64),
}

impl Value {
    /// The order in which the tracker's merge prefers versions.
    fn rank(&self) -> (i64, i64, String) {
        match self {
            Value::Entry(term, received_at) => {
                (term.elected_at, *received_at, term.replica.to_string())
            }
            Value::Plan(plan) => (0, plan.version, format!("{plan:?}")),
            Value::Claim(claim) => (0, claim.version, String::new()),
            Value::Beat(beat_ms) => (0, *beat_ms, String::new()),
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct View(pub BTreeMap<Key, Value>);

impl View {
    /// Merges a version; whether that changed anything.
    pub(crate) fn merge(&mut self, key: &Key, value: &Value) -> bool {
        let is_newer = self
            .0
            .get(key)
            .is_none_or(|known| known.rank() < value.rank());
        if is_newer {
            self.0.insert(key.clone(), value.clone());
        }
        is_newer
    }

    pub(crate) fn entry(&self) -> Option<(&Term, i64)> {
        match self.0.get(&Key::Entry) {
            Some(Value::Entry(term, received_at)) => Some((term, *received_at)),
            _ => None,
        }
    }

    pub(crate) fn plan(&self) -> Option<&Plan> {
        match self.0.get(&Key::Plan) {
            Some(Value::Plan(plan)) => Some(plan),
            _ => None,
        }
    }

    pub(crate) fn claims(&self) -> impl Iterator<Item = (&String, &Claim)> {
        self.0.iter().filter_map(|(key, value)| match (key, value) {
            (Key::Claim(name), Value::Claim(claim)) => Some((name, claim)),
            _ => None,
        })
    }
}

/// A call of the store.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Claim(Claim),
    Beat(i64),
    Plan {
        over: i64,
        plan: Plan,
    },
    Survey(u64),
    /// End this term, or if there is none, elect for a new cluster.
    Elect {
        from: Option<Term>,
        successor: String,
    },
    Refresh {
        of: Term,
        received_at: i64,
    },
}

/// What a call has led to, besides changes that watches show.
#[derive(Debug, Clone)]
pub(crate) enum Done {
    Claim(bool),
    Beat {
        begun_ms: i64,
        stored: bool,
    },
    Plan {
        plan: Box<Plan>,
        stored: bool,
        instead: Option<Box<Plan>>,
    },
    Survey {
        number: u64,
        found: Option<Box<View>>,
    },
    Nothing,
}

impl Operation {
    pub(crate) fn failed(&self) -> Done {
        match self.clone() {
            Operation::Claim(_) => Done::Claim(false),
            Operation::Beat(begun_ms) => Done::Beat {
                begun_ms,
                stored: false,
            },
            Operation::Plan { plan, .. } => Done::Plan {
                plan: Box::new(plan),
                stored: false,
                instead: None,
            },
            Operation::Survey(number) => Done::Survey {
                number,
                found: None,
            },
            Operation::Elect { .. } | Operation::Refresh { .. } => Done::Nothing,
        }
    }

    /// Carries it out on a view, for the instance `me` whose clock shows `now_ms`: what is written,
    /// and the answer.
    pub(crate) fn perform(
        &self,
        view: &View,
        me: &str,
        now_ms: i64,
    ) -> (Option<(Key, Value)>, Done) {
        match self.clone() {
            Operation::Claim(claim) => {
                let key = Key::Claim(me.to_owned());
                (Some((key, Value::Claim(claim))), Done::Claim(true))
            }
            Operation::Beat(begun_ms) => {
                let done = Done::Beat {
                    begun_ms,
                    stored: true,
                };
                let key = Key::Beat(me.to_owned());
                (Some((key, Value::Beat(begun_ms))), done)
            }
            Operation::Plan { over, plan } => {
                let stored = view.plan().map_or(0, |known| known.version) == over;
                let done = Done::Plan {
                    plan: Box::new(plan.clone()),
                    stored,
                    instead: view.plan().filter(|_| !stored).cloned().map(Box::new),
                };
                (stored.then_some((Key::Plan, Value::Plan(plan))), done)
            }
            Operation::Survey(number) => {
                let found = Some(Box::new(view.clone()));
                (None, Done::Survey { number, found })
            }
            Operation::Elect { from, successor } => {
                let current = view.entry();
                if from.as_ref() != current.map(|(term, _)| term) {
                    return (None, Done::Nothing);
                }
                let (elected_at, changes) = current.map_or((now_ms, 0), |(term, _)| {
                    (now_ms.max(term.elected_at + 1), term.changes + 1)
                });
                let term = Term {
                    replica: successor.into(),
                    elected_at,
                    changes,
                };
                (
                    Some((Key::Entry, Value::Entry(term, now_ms))),
                    Done::Nothing,
                )
            }
            Operation::Refresh { of, received_at } => {
                let written = match view.entry() {
                    Some((term, known_ms)) if *term == of && known_ms < received_at => {
                        Some((Key::Entry, Value::Entry(of, received_at)))
                    }
                    _ => None,
                };
                (written, Done::Nothing)
            }
        }
    }
}
