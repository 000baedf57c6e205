//! Calls of the store, watches, and gossip.

use super::*;

impl World {
    pub(super) fn issue(&mut self, index: usize, operation: Operation) {
        let life = self.nodes[index].life;
        let name = self.nodes[index].name.clone();
        let is_away = self.now_ms < self.nodes[index].cut_off_until_ms
            || self.now_ms < self.store_down_until_ms;
        if is_away && !self.scenario.gossip {
            let done = operation.failed();
            if self.rng.chance(15) {
                let event = Event::Commit(Commit {
                    node: index,
                    life,
                    name,
                    operation,
                    is_told: false,
                });
                self.after(1, event);
            }
            let delay_ms = self.rng.range(500, 2_000);
            self.after(
                delay_ms,
                Event::Done {
                    node: index,
                    life,
                    done,
                },
            );
            return;
        }
        let delay_ms = self.store_delay_ms();
        let event = Event::Commit(Commit {
            node: index,
            life,
            name,
            operation,
            is_told: true,
        });
        self.after(delay_ms, event);
    }

    fn store_delay_ms(&mut self) -> i64 {
        if self.scenario.gossip {
            return 1;
        }
        if self.now_ms < self.store_slow_until_ms {
            return self.rng.range(50, 500);
        }
        self.rng.range(1, 30)
    }

    pub(super) fn commit(&mut self, commit: Commit) {
        let Commit {
            node: index,
            life,
            name,
            operation,
            is_told,
        } = commit;
        let now_ms = self.clock_ms(index);
        let is_alive = self.lives(index, life);
        if self.scenario.gossip && !is_alive {
            return;
        }
        let view = if self.scenario.gossip {
            &self.nodes[index].view
        } else {
            &self.central
        };
        let (written, done) = operation.perform(view, &name, now_ms);
        if let Some((key, value)) = written {
            if let (Key::Entry, Value::Entry(term, _)) = (&key, &value)
                && matches!(operation, Operation::Elect { .. })
            {
                self.report.elections += u64::from(term.changes > 0);
                let term = term.clone();
                self.trace(|_| format!("ELECTED {term:?}"));
            }
            if self.scenario.gossip {
                self.spread(index, &key, &value);
            } else {
                self.central.0.insert(key.clone(), value.clone());
                self.tell_watchers(&key, &value);
            }
        }
        if is_told {
            let delay_ms = self.store_delay_ms();
            self.after(
                delay_ms,
                Event::Done {
                    node: index,
                    life,
                    done,
                },
            );
        }
    }

    fn tell_watchers(&mut self, key: &Key, value: &Value) {
        let is_slow = self.now_ms < self.store_slow_until_ms;
        for node in 0..self.nodes.len() {
            let most_ms = if is_slow { 1_500 } else { 200 };
            let at_ms = self.now_ms + self.rng.range(1, most_ms);
            let at_ms = at_ms.max(self.nodes[node].watched_ms);
            self.nodes[node].watched_ms = at_ms;
            let life = self.nodes[node].life;
            let (key, value) = (key.clone(), value.clone());
            let delay_ms = at_ms - self.now_ms;
            self.after(
                delay_ms,
                Event::Watch {
                    node,
                    life,
                    key,
                    value,
                },
            );
        }
    }

    fn spread(&mut self, from: usize, key: &Key, value: &Value) {
        let settle_ms = self.scenario.settings.settle_ms;
        for node in 0..self.nodes.len() {
            let (key, value) = (key.clone(), value.clone());
            if node == from {
                self.watch(node, key, value);
                continue;
            }
            // Beyond a partition, when it ends.
            let cut_off_until_ms = self.nodes[from]
                .cut_off_until_ms
                .max(self.nodes[node].cut_off_until_ms);
            let cut_off_ms = (cut_off_until_ms - self.now_ms).max(0);
            let delay_ms = if self.scenario.class.is_ordered() {
                0
            } else {
                cut_off_ms
            } + self.rng.range(5, settle_ms - 50);
            let life = self.nodes[node].life;
            self.after(
                delay_ms,
                Event::Watch {
                    node,
                    life,
                    key,
                    value,
                },
            );
        }
    }

    pub(super) fn watch(&mut self, index: usize, key: Key, value: Value) {
        let node = &mut self.nodes[index];
        let is_cut_off = self.now_ms < node.cut_off_until_ms && !self.scenario.gossip;
        if is_cut_off || !node.waiting.is_empty() {
            node.waiting.push_back((key, value));
            return;
        }
        self.apply(index, key, value);
    }

    pub(super) fn apply(&mut self, index: usize, key: Key, value: Value) {
        let now_ms = self.clock_ms(index);
        let node = &mut self.nodes[index];
        if self.scenario.gossip {
            if !node.view.merge(&key, &value) {
                return;
            }
        } else {
            node.view.0.insert(key.clone(), value.clone());
        }
        match (key, value) {
            (Key::Beat(name), Value::Beat(beat_ms)) => node.fleet.heard(&name, beat_ms, now_ms),
            (_, Value::Entry(term, received_at)) => self.call(index, |state, cx, out| {
                state.elected(Some((&term, received_at)), cx, out);
            }),
            (_, Value::Plan(plan)) => {
                self.call(index, |state, cx, out| state.plan_seen(&plan, cx, out));
            }
            (Key::Claim(name), Value::Claim(claim)) => {
                self.call(index, |state, cx, out| {
                    state.claim_seen(&name, &claim, cx, out);
                });
            }
            _ => {}
        }
    }

    pub(super) fn done(&mut self, index: usize, done: Done) {
        match done {
            Done::Claim(stored) => {
                self.call(index, |state, cx, out| state.claim_written(stored, cx, out));
            }
            Done::Beat { begun_ms, stored } => {
                if stored {
                    self.nodes[index].fleet.confirmed(begun_ms);
                }
            }
            Done::Plan {
                plan,
                stored,
                instead,
            } => self.call(index, |state, cx, out| {
                if let Some(instead) = &instead {
                    state.plan_seen(instead, cx, out);
                }
                state.plan_written(&plan, stored, cx, out);
            }),
            Done::Survey { number, found } => self.call(index, |state, cx, out| {
                if let Some(found) = &found {
                    for (name, claim) in found.claims() {
                        state.claim_seen(name, claim, cx, out);
                    }
                    if let Some(plan) = found.plan() {
                        state.plan_seen(plan, cx, out);
                    }
                }
                state.surveyed(number, found.is_some(), cx, out);
            }),
            Done::Nothing => {}
        }
    }
}
