//! Distributors: requests, the tracker, the store, and the effects of the state machine.

use super::*;

impl World {
    pub(super) fn node(&mut self, index: usize, life: u32) -> Node {
        let name = format!("d{index}.{life}");
        let budget = Arc::new(Budget::new(u64::MAX, None));
        let settings = self.scenario.settings.clone();
        let mut state = ClusterState::new(name.as_str(), settings, Arc::clone(&budget));
        state.set_faults(self.scenario.faults);
        let clock_ms = self.rng.range(-400, 401);
        Node {
            fleet: Fleet::new(name.as_str(), DEAD_AFTER_MS, self.now_ms + clock_ms),
            name,
            life,
            is_alive: false,
            is_foreign: index < self.scenario.foreign,
            clock_ms,
            cut_off_until_ms: 0,
            waiting: VecDeque::new(),
            watched_ms: 0,
            state,
            budget,
            view: View::default(),
            seen: BTreeMap::new(),
            cadences: BTreeMap::new(),
            replay: None,
            jitter_ms: self.rng.range(-5_000, 5_001),
        }
    }

    pub(super) fn start_node(&mut self, index: usize) {
        // Synced before it is ready.
        let view = if self.scenario.gossip {
            let others = self.nodes.iter().filter(|node| node.is_alive);
            let mut view = View::default();
            for node in others {
                for (key, value) in &node.view.0 {
                    view.merge(key, value);
                }
            }
            view
        } else {
            self.central.clone()
        };
        let node = &mut self.nodes[index];
        node.is_alive = true;
        let life = node.life;
        self.trace(|world| format!("{} starts", world.nodes[index].name));
        for (key, value) in view.0 {
            self.watch(index, key, value);
        }
        self.beat(index);
        let (tick_ms, poll_ms) = (self.rng.range(0, 100), self.rng.range(0, 3_000));
        self.after(tick_ms, Event::Tick { node: index, life });
        self.after(poll_ms, Event::Poll { node: index, life });
    }

    pub(super) fn kill_node(&mut self, index: usize, restart_ms: i64) {
        self.trace(|world| format!("{} dies", world.nodes[index].name));
        let node = &mut self.nodes[index];
        node.is_alive = false;
        node.life += 1;
        let mut lost = Vec::new();
        for replica in &self.replicas {
            for shard in &replica.shards {
                if shard.is_waiting
                    && shard.connection == Some(index)
                    && let Some(body) = &shard.sending
                {
                    self.sink.uncertain.insert(body.id);
                    lost.push((Rc::clone(body), (replica.life, shard.attempt)));
                }
            }
        }
        for (body, sender) in lost {
            self.reply(&body, sender, Answer::Lost);
        }
        self.after(restart_ms, Event::StartNode(index));
    }

    pub(super) fn clock_ms(&self, index: usize) -> i64 {
        self.now_ms + self.nodes[index].clock_ms
    }

    /// Calls the state machine, and begins its effects.
    pub(super) fn call<R>(
        &mut self,
        index: usize,
        call: impl FnOnce(&mut ClusterState<Rc<Body>>, Context<'_>, &mut Output<Rc<Body>>) -> R,
    ) -> R {
        let now_ms = self.clock_ms(index);
        let mut out = Output::default();
        let node = &mut self.nodes[index];
        let cx = Context {
            now_ms,
            fleet: &node.fleet,
        };
        let before = self.is_traced.then(|| node.state.snapshot());
        let result = call(&mut node.state, cx, &mut out);
        let held = node.budget.used();
        if let Some(before) = before {
            let after = node.state.snapshot();
            if (before.phase, &before.term) != (after.phase, &after.term) {
                let name = node.name.clone();
                self.trace(|_| format!("{name} {} -> {} {:?}", before.phase, after.phase, after));
            }
        }
        self.report.most_held = self.report.most_held.max(held);
        if held > self.scenario.settings.hold_bytes {
            self.violated(&format!("invariant 4: {held} bytes held"));
        }
        if out.counts.evicted > 0 && self.is_amiss(index) {
            self.violated("invariant 2: evicted while the elected replica is dead");
        }
        self.count(&out.counts);
        for effect in out.effects {
            self.begin_effect(index, effect);
        }
        result
    }

    fn count(&mut self, counts: &Counts) {
        let all = &mut self.report.counts;
        all.held += counts.held;
        all.evicted += counts.evicted;
        all.expired += counts.expired;
        all.lost += counts.lost;
        all.replayed += counts.replayed;
        all.plans += counts.plans;
        all.withdrawn += counts.withdrawn;
        all.boundaries += counts.boundaries;
        all.given_up += counts.given_up;
        all.foreign += counts.foreign;
    }

    fn begin_effect(&mut self, index: usize, effect: Effect<Rc<Body>>) {
        if !matches!(effect, Effect::Survey { .. } | Effect::Wake) {
            self.trace(|world| {
                let text = match &effect {
                    Effect::Replay(slice) => format!(
                        "replays {} of {} before {}",
                        slice.bodies.len(),
                        slice.replica,
                        slice.before_ms.saturating_sub(START_MS)
                    ),
                    other => format!("{other:?}"),
                };
                format!("{} {text}", world.nodes[index].name)
            });
        }
        let operation = match effect {
            Effect::WriteClaim(claim) => Operation::Claim(claim),
            Effect::WritePlan { over, plan } => Operation::Plan { over, plan },
            Effect::Survey { number } => Operation::Survey(number),
            Effect::Elect { from, successor } => Operation::Elect {
                from: Some(from),
                successor: successor.to_string(),
            },
            Effect::Replay(slice) => {
                self.nodes[index].replay = Some((slice, 0));
                self.replay_next(index);
                return;
            }
            Effect::Wake => return,
        };
        self.issue(index, operation);
    }

    // Requests.

    pub(super) fn arrive(
        &mut self,
        index: usize,
        life: u32,
        body: &Rc<Body>,
        sender: Sender,
        until_ms: i64,
    ) {
        if !self.lives(index, life) {
            self.sink.uncertain.insert(body.id);
            self.reply(body, sender, Answer::Lost);
            return;
        }
        let now_ms = self.clock_ms(index);
        let name = self.replicas[body.replica].name.clone();
        self.came(index, body.replica);
        if !self.scenario.tracker_faults.refused_is_silent {
            self.sighted(index, body.replica, false);
        }
        let entry = self.nodes[index].view.entry();
        let Some(elected) = entry.map(|(term, _)| term.replica.clone()) else {
            let operation = Operation::Elect {
                from: None,
                successor: name,
            };
            self.issue(index, operation);
            self.reply(body, sender, Answer::RetryLater(100));
            return;
        };
        if elected != name.as_str() && self.is_overdue(index) {
            self.fail_over(index, &name);
        }
        if self.nodes[index].is_foreign {
            self.arrive_at_foreign(index, body, sender, elected == name.as_str());
            return;
        }
        let request = Request {
            replica: &name,
            oldest_ms: body.oldest_ms(),
            newest_ms: body.newest_ms(),
            bytes: body.samples.len() as u64 * 16,
        };
        let fate = self.call(index, |state, cx, out| {
            state.request(&request, || Rc::clone(body), cx, out)
        });
        match fate {
            Fate::Accept { ticket, after_ms } => {
                self.accepted(index, body, sender, ticket, after_ms);
            }
            Fate::Held => {
                self.sighted(index, body.replica, false);
                self.reply(body, sender, Answer::Taken);
            }
            Fate::Deduplicate => {
                self.sighted(index, body.replica, false);
                let has_passed = self.acknowledged(index) >= body.newest_ms();
                if !has_passed && body.newest_ms() < now_ms + 4_000 && self.is_amiss(index) {
                    self.violated(&format!("invariant 2: {name} is deduplicated"));
                }
                self.reply(body, sender, Answer::Taken);
            }
            Fate::RetryLater { after, why } => {
                self.sighted_refused(index, body.replica);
                let is_short = match why {
                    Wait::Opening | Wait::NoElection => true,
                    Wait::Election => elected == name.as_str(),
                    _ => false,
                };
                if is_short && self.now_ms < until_ms {
                    let body = Rc::clone(body);
                    let event = Event::Arrive {
                        node: index,
                        life,
                        body,
                        sender,
                        until_ms,
                    };
                    self.after(50, event);
                    return;
                }
                let wait_ms = after.as_millis() as i64;
                self.reply(body, sender, Answer::RetryLater(wait_ms));
            }
        }
    }

    fn sighted(&mut self, index: usize, replica: usize, is_refused: bool) {
        let at_ms = self.clock_ms(index);
        self.nodes[index]
            .seen
            .insert(replica, Seen { at_ms, is_refused });
    }

    /// A request came. As the distributor does, it learns how often the replica sends: what is sent
    /// again after a refusal says nothing.
    fn came(&mut self, index: usize, replica: usize) {
        let at_ms = self.clock_ms(index);
        let node = &mut self.nodes[index];
        let cadence = node.cadences.entry(replica).or_default();
        let was_refused = std::mem::take(&mut cadence.was_refused);
        let gap_ms = at_ms - cadence.came_ms;
        cadence.came_ms = at_ms;
        if !was_refused && (100..120_000).contains(&gap_ms) {
            let total_ms = cadence.covers_ms + gap_ms;
            cadence.mean_ms = (cadence.mean_ms * cadence.covers_ms + gap_ms * gap_ms) / total_ms;
            cadence.covers_ms = total_ms.min(60_000.max(8 * cadence.mean_ms));
        }
    }

    /// As the distributor does: how often the elected replica sends is learned.
    fn learn_interval(&mut self, index: usize) {
        let node = &self.nodes[index];
        let elected = node.view.entry().map(|(term, _)| term.replica.clone());
        let elected = elected.and_then(|name| self.replica_named(&name));
        let cadence = elected.and_then(|replica| node.cadences.get(&replica));
        let mut settings = self.scenario.settings.clone();
        settings.interval_ms = match cadence {
            Some(known) if known.covers_ms >= 60_000.max(4 * known.mean_ms) => {
                let interval_ms = settings.slice_ms.max(known.mean_ms);
                self.longest_interval_ms = self.longest_interval_ms.max(interval_ms);
                interval_ms
            }
            Some(known) => UNKNOWN_INTERVAL_MS.max(known.mean_ms),
            None => UNKNOWN_INTERVAL_MS,
        };
        self.nodes[index].state.set_settings(settings);
    }

    fn sighted_refused(&mut self, index: usize, replica: usize) {
        let cadences = &mut self.nodes[index].cadences;
        cadences.entry(replica).or_default().was_refused = true;
        if !self.scenario.tracker_faults.refused_is_silent {
            self.sighted(index, replica, true);
        }
    }

    fn arrive_at_foreign(&mut self, index: usize, body: &Rc<Body>, sender: Sender, elected: bool) {
        if !elected {
            self.reply(body, sender, Answer::Taken);
            return;
        }
        let term = self.nodes[index]
            .view
            .entry()
            .map_or(0, |(term, _)| term.changes);
        let samples = body.samples.clone();
        self.forward(index, body, samples, term, Some((None, sender)));
    }

    fn accepted(
        &mut self,
        index: usize,
        body: &Rc<Body>,
        sender: Sender,
        ticket: Ticket,
        after_ms: Option<i64>,
    ) {
        let after_ms = after_ms.unwrap_or(i64::MIN);
        let samples = body.samples.iter().filter(|one| one.at_ms > after_ms);
        let samples: Vec<Sample> = samples.copied().collect();
        if samples.is_empty() {
            self.call(index, |state, cx, out| {
                state.finished(&ticket, Outcome::Done, cx, out);
            });
            self.reply(body, sender, Answer::Taken);
            return;
        }
        let term = self.nodes[index].state.snapshot().term;
        let term = term.map_or(0, |term| term.changes);
        self.forward(index, body, samples, term, Some((Some(ticket), sender)));
    }

    fn forward(
        &mut self,
        index: usize,
        body: &Rc<Body>,
        samples: Vec<Sample>,
        term: i64,
        live: Option<(Option<Ticket>, Sender)>,
    ) {
        let forward = Forward {
            node: index,
            life: self.nodes[index].life,
            body: Rc::clone(body),
            samples,
            term,
            live,
            sent_ms: self.clock_ms(index),
        };
        let delay_ms = self.sink_delay_ms();
        self.after(delay_ms, Event::AtSink(forward));
    }

    pub(super) fn answered_by_sink(&mut self, forward: &Forward, outcome: Outcome) {
        let index = forward.node;
        if outcome == Outcome::Done {
            let newest_ms = forward.body.newest_ms();
            let known = self.acknowledged.entry(forward.term).or_insert(newest_ms);
            *known = newest_ms.max(*known);
        }
        if !self.lives(index, forward.life) {
            return;
        }
        let Some((ticket, sender)) = &forward.live else {
            self.replay_answered(index, outcome);
            return;
        };
        if let Some(ticket) = ticket {
            self.call(index, |state, cx, out| {
                state.finished(ticket, outcome, cx, out);
            });
        }
        if outcome == Outcome::Done {
            self.sighted(index, forward.body.replica, false);
            self.reply(&forward.body, *sender, Answer::Taken);
        } else {
            self.sighted_refused(index, forward.body.replica);
            self.reply(&forward.body, *sender, Answer::RetryLater(0));
        }
    }

    // Replays.

    pub(super) fn replay_next(&mut self, index: usize) {
        let now_ms = self.clock_ms(index);
        let Some((slice, done)) = &mut self.nodes[index].replay else {
            return;
        };
        while let Some(part) = slice.bodies.get(*done) {
            let (after_ms, before_ms) = (part.after_ms, slice.before_ms);
            let is_within = |one: &&Sample| after_ms < one.at_ms && one.at_ms < before_ms;
            let samples: Vec<Sample> = part
                .body
                .samples
                .iter()
                .filter(is_within)
                .copied()
                .collect();
            if samples.is_empty() {
                *done += 1;
                continue;
            }
            if now_ms > slice.until_ms {
                break;
            }
            let body = Rc::clone(&part.body);
            let term = self.nodes[index].state.snapshot().term;
            let term = term.map_or(0, |term| term.changes);
            self.forward(index, &body, samples, term, None);
            return;
        }
        let (number, done) = (slice.number, *done);
        self.nodes[index].replay = None;
        self.call(index, |state, cx, out| {
            state.replayed(number, done, cx, out);
        });
    }

    fn replay_answered(&mut self, index: usize, outcome: Outcome) {
        let Some((slice, done)) = &mut self.nodes[index].replay else {
            return;
        };
        if outcome == Outcome::Done {
            *done += 1;
            self.replay_next(index);
            return;
        }
        // It is tried again.
        if let Some(part) = slice.bodies.get(*done) {
            self.sink.uncertain.insert(part.body.id);
        }
        let life = self.nodes[index].life;
        self.after(500, Event::Replay { node: index, life });
    }

    // Time.

    pub(super) fn tick(&mut self, index: usize) {
        let life = self.nodes[index].life;
        if self.now_ms >= self.nodes[index].cut_off_until_ms {
            while let Some((key, value)) = self.nodes[index].waiting.pop_front() {
                self.apply(index, key, value);
            }
        }
        self.learn_interval(index);
        self.call(index, ClusterState::tick);
        let delay_ms = if self.nodes[index].state.is_busy() {
            100
        } else {
            1_000
        };
        self.after(delay_ms, Event::Tick { node: index, life });
    }

    pub(super) fn beat(&mut self, index: usize) {
        let (life, begun_ms) = (self.nodes[index].life, self.clock_ms(index));
        self.issue(index, Operation::Beat(begun_ms));
        self.after(1_000, Event::Beat { node: index, life });
    }

    // The tracker.

    pub(super) fn failover_ms(&self) -> i64 {
        if self.scenario.tracker_faults.no_cadence {
            return FAILOVER_MS;
        }
        FAILOVER_MS.max(self.scenario.interval_ms * 5 / 2)
    }

    fn is_overdue(&self, index: usize) -> bool {
        let node = &self.nodes[index];
        let Some((term, received_at)) = node.view.entry() else {
            return false;
        };
        let seen = self.replica_named(&term.replica);
        let seen = seen.and_then(|replica| node.seen.get(&replica));
        let seen_ms = seen.map_or(i64::MIN, |seen| seen.at_ms).max(received_at);
        let more_ms = if seen.is_some_and(|seen| seen.is_refused) {
            BACKOFF_MS
        } else {
            0
        };
        let is_silent = self.clock_ms(index) - seen_ms > self.failover_ms() + more_ms;
        is_silent && !self.scenario.tracker_faults.never_fails_over
    }

    fn fail_over(&mut self, index: usize, successor: &str) {
        if self.nodes[index].is_foreign {
            let from = self.nodes[index].view.entry().map(|(term, _)| term.clone());
            let successor = successor.to_owned();
            self.issue(index, Operation::Elect { from, successor });
            return;
        }
        self.call(index, |state, cx, out| {
            state.begin(successor, Reason::Overdue, cx, out);
        });
    }

    pub(super) fn poll(&mut self, index: usize) {
        let life = self.nodes[index].life;
        self.after(3_000, Event::Poll { node: index, life });
        let now_ms = self.clock_ms(index);
        let node = &self.nodes[index];
        let Some((term, received_at)) = node.view.entry().map(|(term, at)| (term.clone(), at))
        else {
            return;
        };
        let elected = self.replica_named(&term.replica);
        let seen_ms = elected
            .and_then(|replica| node.seen.get(&replica))
            .map(|seen| seen.at_ms);
        if let Some(seen_ms) = seen_ms
            && seen_ms > received_at
            && now_ms - received_at > UPDATE_MS + node.jitter_ms
        {
            let operation = Operation::Refresh {
                of: term,
                received_at: seen_ms,
            };
            self.issue(index, operation);
            return;
        }
        if self.is_overdue(index) {
            let recent = self.failover_ms();
            let others = self.nodes[index].seen.iter();
            let candidate = others
                .filter(|(replica, seen)| {
                    Some(**replica) != elected && now_ms - seen.at_ms < recent
                })
                .max_by_key(|(_, seen)| seen.at_ms)
                .map(|(replica, _)| self.replicas[*replica].name.clone());
            if let Some(candidate) = candidate {
                self.fail_over(index, &candidate);
            }
        }
    }

    /// Whether the replica that is elected here has been dead for so long that this must be known.
    fn is_amiss(&self, index: usize) -> bool {
        let Some(term) = self.nodes[index].state.snapshot().term else {
            return false;
        };
        if !self.scenario.class.is_ordered() {
            return false;
        }
        let replica = self.replica_named(&term.replica);
        let replica = replica.map(|replica| &self.replicas[replica]);
        replica.is_some_and(|replica| {
            let dead_ms = self.now_ms - replica.died_ms;
            !replica.is_alive && dead_ms > self.scenario.settings.late_after_ms + 6_000
        })
    }

    fn acknowledged(&self, index: usize) -> i64 {
        let term = self.nodes[index].state.snapshot().term;
        let known = term.and_then(|term| self.acknowledged.get(&term.changes));
        known.copied().unwrap_or(i64::MIN)
    }
}
