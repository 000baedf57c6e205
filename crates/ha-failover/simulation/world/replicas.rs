//! Replicas: scrapes, requests and their answers.

use super::*;

impl World {
    pub(super) fn start_replica(&mut self, index: usize) {
        let scenario = self.scenario.clone();
        let replica = &mut self.replicas[index];
        if replica.is_alive && replica.life > 0 {
            return;
        }
        replica.start(&scenario, &mut self.rng);
        let life = replica.life;
        for target in 0..scenario.targets {
            let offset = self.replicas[index].offsets[target];
            let phase = (self.now_ms - START_MS) % scenario.interval_ms;
            let delay_ms = (offset - phase).rem_euclid(scenario.interval_ms);
            let event = Event::Scrape {
                replica: index,
                life,
                target,
            };
            self.after(delay_ms, event);
        }
        self.trace(|_| format!("r{index} starts"));
    }

    pub(super) fn scrape(&mut self, index: usize, life: u32, target: usize) {
        let replica = &mut self.replicas[index];
        if replica.life != life || !replica.is_alive {
            return;
        }
        replica.scrape(target, &self.scenario, self.now_ms);
        let interval_ms = self.scenario.interval_ms;
        self.after(
            interval_ms,
            Event::Scrape {
                replica: index,
                life,
                target,
            },
        );
        for shard in 0..self.scenario.shards {
            self.shard(index, life, shard);
        }
    }

    pub(super) fn shard(&mut self, index: usize, life: u32, shard: usize) {
        let replica = &mut self.replicas[index];
        if replica.life != life || !replica.is_alive {
            return;
        }
        let next = replica.shards[shard].next(
            (index, shard),
            self.bodies + 1,
            &self.scenario,
            self.now_ms,
        );
        match next {
            Ok(_) => {
                self.bodies += 1;
                self.send(index, life, shard);
            }
            Err(Some(due_ms)) => {
                let delay_ms = due_ms - self.now_ms;
                self.after(
                    delay_ms,
                    Event::Shard {
                        replica: index,
                        life,
                        shard,
                    },
                );
            }
            Err(None) => {}
        }
    }

    /// One attempt of the request that the shard is sending.
    pub(super) fn send(&mut self, index: usize, life: u32, shard: usize) {
        let replica = &self.replicas[index];
        if replica.life != life || !replica.is_alive {
            return;
        }
        let Some(body) = replica.shards[shard].sending.clone() else {
            return;
        };
        let connection = replica.shards[shard].connection;
        let alive: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].is_alive)
            .collect();
        let kept = connection.filter(|node| alive.contains(node));
        let node = match kept {
            Some(node) if !self.rng.chance(10) => node,
            _ if alive.is_empty() => {
                self.after(
                    1_000,
                    Event::Send {
                        replica: index,
                        life,
                        shard,
                    },
                );
                return;
            }
            _ => alive[self.rng.below(alive.len())],
        };
        self.replicas[index].shards[shard].connection = Some(node);
        let sending = &mut self.replicas[index].shards[shard];
        sending.attempt += 1;
        sending.is_waiting = true;
        let sender = (life, sending.attempt);
        let node_life = self.nodes[node].life;
        let delay_ms = self.rng.range(1, 20);
        let event = Event::Arrive {
            node,
            life: node_life,
            body,
            sender,
            until_ms: self.now_ms + WAIT_MS,
        };
        self.after(delay_ms, event);
    }

    pub(super) fn answer(&mut self, body: &Rc<Body>, sender: Sender, answer: Answer) {
        let (index, shard) = (body.replica, body.shard);
        let replica = &mut self.replicas[index];
        let life = replica.life;
        if !replica.is_alive || (life, replica.shards[shard].attempt) != sender {
            return;
        }
        // Another answer to the same attempt does not count.
        replica.shards[shard].attempt += 1;
        replica.shards[shard].is_waiting = false;
        let scenario = &self.scenario;
        let delay_ms = match answer {
            Answer::Taken => {
                replica.shards[shard].sending = None;
                self.shard(index, life, shard);
                return;
            }
            Answer::RetryLater(after_ms) => replica.shards[shard].backoff(scenario, after_ms),
            Answer::Lost => {
                replica.shards[shard].connection = None;
                replica.shards[shard].backoff(scenario, 0)
            }
        };
        self.after(
            delay_ms,
            Event::Send {
                replica: index,
                life,
                shard,
            },
        );
    }

    pub(super) fn reply(&mut self, body: &Rc<Body>, sender: Sender, answer: Answer) {
        let delay_ms = self.rng.range(1, 20);
        let body = Rc::clone(body);
        self.after(
            delay_ms,
            Event::Answer {
                body,
                sender,
                answer,
            },
        );
    }
}
