//! What becomes of a replica's samples. Pure: no page is fetched here.

use std::collections::BTreeMap;
use std::time::Duration;

use admin_api::Elected;
use fleet_client::short;
use serde::Serialize;

use super::{Seen, View};
use crate::output::{about, list};

/// Names that a sentence lists.
const NAMED: usize = 5;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) tenant: String,
    pub(super) cluster: String,
    pub(super) replica: Option<String>,
}

/// The answer, in sentences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Answer {
    /// Who is elected, where all agree.
    pub(super) elected: Option<String>,
    /// What a sample of the replica gets; `None` if no replica was asked for, or nothing is known.
    pub(super) sample: Option<Sample>,
    /// Why, until when, and what is wrong.
    pub(super) sentences: Vec<String>,
    /// All distributors answered and agree.
    pub(super) is_well: bool,
}

/// What a sample gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Sample {
    /// 200: it is stored.
    Stored,
    /// 202: it is acknowledged and dropped.
    Deduplicated,
    /// Depends on the distributor that it is sent to.
    Differs,
}

pub(super) fn answer(seen: &[Seen], question: &Question) -> Answer {
    let mut answer = Answer {
        elected: None,
        sample: None,
        sentences: Vec::new(),
        is_well: true,
    };
    let views: Vec<(&str, &View)> = seen
        .iter()
        .filter_map(|(target, view)| Some((short(target), view.as_ref().ok()?)))
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
    if let Some(why) = not_deduplicated(&views, question) {
        answer.say(why);
        answer.sample = question.replica.as_ref().map(|_| Sample::Stored);
        return answer;
    }
    let elections: Vec<(&str, &Elected)> = views
        .iter()
        .filter_map(|(target, view)| Some((*target, view.elected.as_ref()?)))
        .collect();
    let Some((_, first)) = elections.first() else {
        answer.unknown(&views, question);
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
    answer.elected(&elections, views.as_slice(), question);
    answer
}

/// Why samples are stored without any election.
fn not_deduplicated(views: &[(&str, &View)], question: &Question) -> Option<String> {
    let without = |is: fn(&View) -> bool| views.iter().all(|(_, view)| !is(view));
    if without(|view| view.is_tracker_enabled) {
        return Some(
            "The HA tracker is off (distributor.ha_tracker.enable_ha_tracker): samples of every \
             replica are stored."
                .to_owned(),
        );
    }
    without(|view| view.accepts_ha).then(|| {
        format!(
            "accept_ha_samples is off for the tenant {:?}: samples of every replica are stored.",
            question.tenant
        )
    })
}

impl Answer {
    fn say(&mut self, sentence: impl Into<String>) {
        self.sentences.push(sentence.into());
    }

    fn unknown(&mut self, views: &[(&str, &View)], question: &Question) {
        self.is_well = false;
        self.say(
            "No distributor knows this cluster: no replica of it has sent samples with both labels \
             within the last hour. The first sample that arrives elects its replica, and is stored.",
        );
        self.sample = question.replica.as_ref().map(|_| Sample::Stored);
        let mut similar: Vec<String> = views
            .iter()
            .flat_map(|(_, view)| view.similar.iter().cloned())
            .collect();
        similar.sort();
        similar.dedup();
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
             is normal; if it lasts, check the store and the members (distributor status).",
            named.join("; ")
        ));
        self.sample = question.replica.as_ref().map(|_| Sample::Differs);
    }

    fn elected(
        &mut self,
        elections: &[(&str, &Elected)],
        views: &[(&str, &View)],
        question: &Question,
    ) {
        // The one that sees the elected replica best decides when a failover is possible.
        let best = elections
            .iter()
            .max_by_key(|(_, elected)| elected.failover_duration);
        let Some((_, best)) = best else {
            return;
        };
        let now = views.first().map_or("", |(_, view)| view.now.as_str());
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
        let timeout = views.iter().find_map(|(_, view)| view.failover_timeout);
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
        match &question.replica {
            None => self.say(failover),
            Some(replica) if *replica == best.replica => {
                self.sample = Some(Sample::Stored);
                self.say(format!(
                    "A sample of {replica:?} is stored (200), for as long as it is elected."
                ));
                self.say(failover);
            }
            Some(replica) => self.another(replica, best, elections, wait, &failover),
        }
    }

    /// About a replica that is not elected.
    fn another(
        &mut self,
        replica: &str,
        best: &Elected,
        elections: &[(&str, &Elected)],
        wait: Option<u64>,
        failover: &str,
    ) {
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
        self.say(match seeing.as_slice() {
            [] => format!(
                "No distributor has seen {replica:?} in the last minutes: check its name, and whether it sends \
                 here."
            ),
            seeing => format!("{replica:?} is seen by {}.", list(seeing, NAMED)),
        });
    }
}

/// From one time to another of the same clock; `None` if either is missing or they are reversed.
pub(super) fn between(from: &str, to: &str) -> Option<Duration> {
    let parse = |text| humantime::parse_rfc3339(text).ok();
    parse(to)?.duration_since(parse(from)?).ok()
}
