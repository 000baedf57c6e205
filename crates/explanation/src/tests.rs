//! What is said of a cluster.

use admin_api::{ClusterState, OtherReplica};

use super::*;

const NOW: &str = "2026-01-01T00:01:00.000Z";

fn view(replica: Option<&str>, failover_in_s: i64) -> View {
    View {
        is_tracker_enabled: true,
        rules: Rules {
            accepts_ha: true,
            failover_timeout: Some(Duration::from_secs(30)),
            cluster_label: "cluster".to_owned(),
            replica_label: "__replica__".to_owned(),
            max_clusters: 100,
            ..Rules::default()
        },
        elected: replica.map(|replica| elected(replica, failover_in_s)),
        now: NOW.to_owned(),
        similar: Vec::new(),
        clusters: None,
    }
}

fn elected(replica: &str, failover_in_s: i64) -> Elected {
    let other = r#"{"lastSeen":"2026-01-01T00:00:58Z","replica":"b"}"#;
    let other: OtherReplica = serde_json::from_str(other).unwrap();
    Elected {
        failover_duration: failover_in_s * 1_000_000_000,
        last_election_time: "2026-01-01T00:00:00Z".to_owned(),
        last_gap_ms: None,
        last_seen: "2026-01-01T00:00:57Z".to_owned(),
        other_replicas: vec![other],
        replica: replica.to_owned(),
        state: Some(ClusterState::Fine),
        ..serde_json::from_str(r#"{"userID":"t","cluster":"c","replica":""}"#).unwrap()
    }
}

fn fleet(views: Vec<View>) -> Vec<Seen> {
    let views = views.into_iter().enumerate();
    views
        .map(|(index, view)| (format!("d{index}:80"), Ok(view)))
        .collect()
}

fn question(replica: Option<&str>) -> Question {
    Question {
        tenant: "t".to_owned(),
        cluster: "c".to_owned(),
        replica: replica.map(str::to_owned),
    }
}

/// The answer, and its sentences as one text.
fn asked(seen: &[Seen], replica: Option<&str>) -> (Answer, String) {
    let answer = answer(seen, &question(replica), Scope::Fleet);
    let text = answer.sentences.join(" ");
    (answer, text)
}

#[test]
fn samples_of_the_elected_replica_are_stored_and_of_others_not() {
    let seen = fleet(vec![view(Some("a"), 12), view(Some("a"), 27)]);
    let (answer, text) = asked(&seen, Some("a"));
    assert_eq!(
        (answer.sample, answer.is_well),
        (Some(Sample::Stored), true)
    );
    assert!(
        text.contains("\"a\" was elected 60 s ago, as the first"),
        "{text}"
    );
    assert!(
        text.contains("its last request was seen 3.0 s ago"),
        "{text}"
    );
    // The best view counts.
    assert!(
        text.contains("may be elected in 27 s at the earliest"),
        "{text}"
    );

    let (answer, text) = asked(&seen, Some("b"));
    assert_eq!(answer.sample, Some(Sample::Deduplicated));
    assert!(
        text.contains("dropped (202), because \"a\" is elected"),
        "{text}"
    );
    assert!(text.contains("\"b\" is seen by d0:80, d1:80."), "{text}");
    let (_, text) = asked(&seen, Some("z"));
    assert!(
        text.contains("No distributor has seen \"z\" in the last minutes"),
        "{text}"
    );
}

#[test]
fn a_silent_replica_is_followed_by_the_next_that_sends() {
    let seen = fleet(vec![view(Some("a"), -3)]);
    let (answer, text) = asked(&seen, Some("b"));
    assert_eq!(answer.sample, Some(Sample::Stored));
    assert!(
        text.contains("\"a\" is silent for longer than it may be"),
        "{text}"
    );
    assert!(asked(&seen, None).0.sample.is_none());
}

#[test]
fn what_is_not_known_or_not_agreed_is_said() {
    let (answer, text) = asked(
        &fleet(vec![view(Some("a"), 9), view(Some("b"), 9)]),
        Some("a"),
    );
    assert_eq!(
        (answer.sample, answer.is_well),
        (Some(Sample::Differs), false)
    );
    assert!(text.contains("\"a\" on d0:80; \"b\" on d1:80"), "{text}");

    let (answer, text) = asked(&fleet(vec![view(Some("a"), 9), view(None, 0)]), None);
    assert!(
        !answer.is_well && text.contains("none on d1:80; \"a\" on d0:80"),
        "{text}"
    );

    let similar = View {
        similar: vec!["cc".to_owned()],
        ..view(None, 0)
    };
    let (answer, text) = asked(&fleet(vec![similar]), Some("a"));
    assert_eq!(
        (answer.sample, answer.is_well),
        (Some(Sample::Stored), false)
    );
    assert!(text.contains("names contain it: cc."), "{text}");

    let off = View {
        rules: Rules::default(),
        ..view(None, 0)
    };
    let (answer, text) = asked(&fleet(vec![off]), Some("a"));
    assert_eq!(
        (answer.sample, answer.is_well),
        (Some(Sample::Stored), true)
    );
    assert!(text.contains("accept_ha_samples is off"), "{text}");

    let dead = vec![("http://d0:80".to_owned(), Err("refused".to_owned()))];
    let (answer, text) = asked(&dead, None);
    assert!(
        !answer.is_well && text.contains("1 of 1 distributors do not answer"),
        "{text}"
    );
}

fn advice(view: View, replica: Option<&str>) -> String {
    let answer = answer(
        &[("this".to_owned(), Ok(view))],
        &question(replica),
        Scope::ThisOne,
    );
    answer.advice.join(" ")
}

#[test]
fn each_answer_says_what_to_do() {
    let unknown = advice(view(None, 0), Some("a"));
    assert!(
        unknown.contains("cluster=\"c\" and __replica__"),
        "{unknown}"
    );
    let dropped = advice(view(Some("a"), 12), Some("b"));
    assert!(dropped.contains("hand the election over"), "{dropped}");
    assert!(!dropped.contains("Check the name"), "{dropped}");
    let unseen = advice(view(Some("a"), 12), Some("z"));
    assert!(unseen.contains("Check the name \"z\""), "{unseen}");
    let overdue = advice(view(Some("a"), -3), Some("b"));
    assert!(overdue.contains("Check whether \"a\" runs"), "{overdue}");
    let mut refused = view(Some("a"), 12);
    if let Some(elected) = &mut refused.elected {
        elected.habits.last_refused = Some("2026-01-01T00:00:30Z".to_owned());
        elected.habits.clock_ahead_ms = Some(4_000);
        elected.redundancy_lost = true;
    }
    let refused = advice(refused, Some("a"));
    for part in [
        "refused with 429 or 5xx 30 s ago",
        "4.0 s later than this clock",
        "only \"a\" has been seen for 15 minutes",
    ] {
        assert!(refused.contains(part), "{part} is missing in {refused}");
    }
}

#[test]
fn a_tenant_without_room_is_refused() {
    let full = View {
        clusters: Some(100),
        ..view(None, 0)
    };
    let seen = [("this".to_owned(), Ok(full))];
    let answer = answer(&seen, &question(Some("a")), Scope::ThisOne);
    assert_eq!(answer.sample, Some(Sample::Refused));
    assert!(
        answer.sentences.join(" ").contains("refused with 400"),
        "{answer:?}"
    );
    assert!(answer.advice[0].contains("ha_max_clusters"), "{answer:?}");
}
