//! The answer. Pure: no page is fetched here.

use std::collections::BTreeMap;
use std::time::Duration;

use admin_api::Elected;

use crate::words::{about, between, list};
use crate::{Answer, Question, Sample, Scope, Seen, View, advice};

/// Names that a sentence lists.
const NAMED: usize = 5;

/// Judges what the distributors in `seen` know.
pub fn answer(seen: &[Seen], question: &Question, scope: Scope) -> Answer {
    let mut answer = Answer {
        elected: None,
        sample: None,
        sentences: Vec::new(),
        advice: Vec::new(),
        is_well: true,
    };
    let views: Vec<(&str, &View)> = seen
        .iter()
        .filter_map(|(target, view)| Some((target.as_str(), view.as_ref().ok()?)))
        .collect();
    if views.len() < seen.len() {
        answer.is_well = false;
        let missing = seen.len() - views.len();
        answer.say(format!(
            "{missing} of {} distributors do not answer; what they know is missing here.",
            seen.len()
        ));
    }
    if views.is_empty() {
        return answer;
    }
    if let Some((why, advice)) = not_deduplicated(&views, question) {
        answer.say(why);
        answer.advice.push(advice);
        answer.sample = question.replica.as_ref().map(|_| Sample::Stored);
        return answer;
    }
    let elections: Vec<(&str, &Elected)> = views
        .iter()
        .filter_map(|(target, view)| Some((*target, view.elected.as_ref()?)))
        .collect();
    let Some((_, first)) = elections.first() else {
        answer.unknown(&views, question, scope);
        return answer;
    };
    let agree = elections.len() == views.len()
        && elections
            .iter()
            .all(|(_, elected)| elected.replica == first.replica);
    if !agree {
        answer.disagree(&views, question);
        return answer;
    }
    answer.elected = Some(first.replica.clone());
    answer.elected(&elections, views.as_slice(), question, scope);
    answer
}

/// Why samples are stored without any election, and what to do about it.
fn not_deduplicated(views: &[(&str, &View)], question: &Question) -> Option<(String, String)> {
    let without = |is: fn(&View) -> bool| views.iter().all(|(_, view)| !is(view));
    if without(|view| view.is_tracker_enabled) {
        return Some((
            "The HA tracker is off (distributor.ha_tracker.enable_ha_tracker): samples of every \
             replica are stored."
                .to_owned(),
            advice::tracker_off(),
        ));
    }
    without(|view| view.rules.accepts_ha).then(|| {
        let why = format!(
            "accept_ha_samples is off for the tenant {:?}: samples of every replica are stored.",
            question.tenant
        );
        (why, advice::accepts_off(&question.tenant))
    })
}

impl Answer {
    fn say(&mut self, sentence: impl Into<String>) {
        self.sentences.push(sentence.into());
    }

    fn unknown(&mut self, views: &[(&str, &View)], question: &Question, scope: Scope) {
        self.is_well = false;
        let who = match scope {
            Scope::Fleet => "No distributor knows",
            Scope::ThisOne => "This distributor does not know",
        };
        self.say(format!(
            "{who} this cluster: no replica of it has sent samples with both labels within the last \
             hour."
        ));
        let full = views.iter().find_map(|(_, view)| {
            let limit = view.rules.max_clusters;
            (limit > 0 && view.clusters.is_some_and(|known| known >= limit)).then_some(limit)
        });
        let asked = question.replica.as_ref();
        match full {
            Some(limit) => {
                self.say(format!(
                    "The tenant has as many clusters as ha_max_clusters allows ({limit}): samples of \
                     another cluster are refused with 400."
                ));
                self.sample = asked.map(|_| Sample::Refused);
                self.advice.push(advice::too_many(limit));
            }
            None => {
                self.say("The first sample that arrives elects its replica, and is stored.");
                self.sample = asked.map(|_| Sample::Stored);
            }
        }
        let mut similar: Vec<String> = views
            .iter()
            .flat_map(|(_, view)| view.similar.iter().cloned())
            .collect();
        similar.sort();
        similar.dedup();
        if let Some((_, view)) = views.first() {
            let advice = advice::unknown(question, &view.rules, !similar.is_empty());
            self.advice.extend(advice);
        }
        if !similar.is_empty() {
            let similar = list(&similar, NAMED);
            self.say(format!("Clusters whose names contain it: {similar}."));
        }
    }

    fn disagree(&mut self, views: &[(&str, &View)], question: &Question) {
        self.is_well = false;
        let mut by_replica: BTreeMap<Option<&str>, Vec<String>> = BTreeMap::new();
        for (target, view) in views {
            let elected = view.elected.as_ref().map(|one| one.replica.as_str());
            by_replica
                .entry(elected)
                .or_default()
                .push((*target).to_owned());
        }
        let named: Vec<String> = by_replica
            .iter()
            .map(|(replica, targets)| {
                let targets = list(targets, NAMED);
                match replica {
                    Some(replica) => format!("{replica:?} on {targets}"),
                    None => format!("none on {targets}"),
                }
            })
            .collect();
        self.say(format!(
            "The distributors disagree about who is elected: {}. For a second after an election this \
             is normal.",
            named.join("; ")
        ));
        self.advice.push(
            "If it lasts, check the store and the members (distributor status, /memberlist)."
                .to_owned(),
        );
        self.sample = question.replica.as_ref().map(|_| Sample::Differs);
    }

    fn elected(
        &mut self,
        elections: &[(&str, &Elected)],
        views: &[(&str, &View)],
        question: &Question,
        scope: Scope,
    ) {
        // The one that sees the elected replica best decides when a failover is possible.
        let best = elections
            .iter()
            .max_by_key(|(_, elected)| elected.failover_duration);
        let (Some((_, best)), Some((_, view))) = (best, views.first()) else {
            return;
        };
        let now = view.now.as_str();
        let silent = between(&best.last_seen, now);
        let since = match (best.elected_changes, between(&best.last_election_time, now)) {
            (0, Some(ago)) => format!(
                "was elected {} ago, as the first replica that sent (no failover so far)",
                about(ago)
            ),
            (changes, Some(ago)) => format!(
                "was elected {} ago, when its predecessor was silent (failover number {changes})",
                about(ago)
            ),
            (changes, None) => format!("is elected, after {changes} failover(s)"),
        };
        let seen = silent.map_or("its last request is not known".to_owned(), |ago| {
            format!("its last request was seen {} ago", about(ago))
        });
        self.say(format!("{:?} {since}; {seen}.", best.replica));
        let timeout = views
            .iter()
            .find_map(|(_, view)| view.rules.failover_timeout);
        let timeout = timeout.map_or(String::new(), |timeout| {
            format!(" (ha_tracker_failover_timeout is {})", about(timeout))
        });
        let wait = u64::try_from(best.failover_duration).ok();
        let failover = match wait.map(Duration::from_nanos) {
            Some(wait) => format!(
                "Another replica may be elected in {} at the earliest, if {:?} stays silent \
                 until then{timeout}.",
                about(wait),
                best.replica
            ),
            None => format!(
                "{:?} is silent for longer than it may be{timeout}: the next replica that sends \
                 is elected.",
                best.replica
            ),
        };
        if wait.is_none() {
            self.advice.extend(advice::overdue(best, scope));
        }
        match &question.replica {
            None => self.say(failover),
            Some(replica) if *replica == best.replica => {
                self.sample = Some(Sample::Stored);
                self.say(format!(
                    "A sample of {replica:?} is stored (200), for as long as it is elected."
                ));
                self.say(failover);
                self.advice.extend(advice::elected(best, view));
            }
            Some(replica) => {
                let is_seen = self.another(replica, (best, wait), elections, &failover, scope);
                if view.rules.is_lossless && self.sample == Some(Sample::Deduplicated) {
                    self.say(
                        "Its samples are held in memory until the elected replica has delivered as \
                         new ones (ha_failover_mode is lossless): they are stored if it is elected.",
                    );
                }
                if wait.is_some() {
                    let advice = advice::dropped(replica, best, view, is_seen);
                    self.advice.extend(advice);
                }
            }
        }
    }

    /// About a replica that is not elected; returns whether it is seen. `best`: the election, and the
    /// time until a failover, ns.
    fn another(
        &mut self,
        replica: &str,
        (best, wait): (&Elected, Option<u64>),
        elections: &[(&str, &Elected)],
        failover: &str,
        scope: Scope,
    ) -> bool {
        if wait.is_some() {
            self.sample = Some(Sample::Deduplicated);
            self.say(format!(
                "A sample of {replica:?} is acknowledged and dropped (202), because {:?} is elected.",
                best.replica
            ));
        } else {
            self.sample = Some(Sample::Stored);
            self.say(format!(
                "A sample of {replica:?} is likely to elect it now, and to be stored."
            ));
        }
        self.say(failover.to_owned());
        let sees = |elected: &&(&str, &Elected)| {
            let mut others = elected.1.other_replicas.iter();
            others.any(|other| other.replica == replica)
        };
        let seeing: Vec<String> = elections
            .iter()
            .filter(sees)
            .map(|(target, _)| (*target).to_owned())
            .collect();
        self.say(match (seeing.as_slice(), scope) {
            ([], Scope::Fleet) => {
                format!("No distributor has seen {replica:?} in the last minutes.")
            }
            ([], Scope::ThisOne) => format!(
                "This distributor has not seen {replica:?} in the last minutes; another one may have."
            ),
            (seeing, Scope::Fleet) => {
                format!("{replica:?} is seen by {}.", list(seeing, NAMED))
            }
            (_, Scope::ThisOne) => format!("{replica:?} is seen by this distributor."),
        });
        !seeing.is_empty()
    }
}
