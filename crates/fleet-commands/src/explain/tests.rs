//! What is said of a cluster.

use admin_api::{ClusterState, OtherReplica};

use super::answer::Sample;
use super::*;

const NOW: &str = "2026-01-01T00:01:00.000Z";

fn view(replica: Option<&str>, failover_in_s: i64) -> View {
    View {
        is_tracker_enabled: true,
        accepts_ha: true,
        failover_timeout: Some(Duration::from_secs(30)),
        elected: replica.map(|replica| elected(replica, failover_in_s)),
        now: NOW.to_owned(),
        similar: Vec::new(),
    }
}

fn elected(replica: &str, failover_in_s: i64) -> Elected {
    let other = r#"{"lastSeen":"2026-01-01T00:00:58Z","replica":"b"}"#;
    let other: OtherReplica = serde_json::from_str(other).unwrap();
    Elected {
        failover_duration: failover_in_s * 1_000_000_000,
        last_election_time: "2026-01-01T00:00:00Z".to_owned(),
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
        .map(|(index, view)| (format!("http://d{index}:80"), Ok(view)))
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
fn asked(seen: &[Seen], replica: Option<&str>) -> (answer::Answer, String) {
    let answer = answer(seen, &question(replica));
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
    let screen = screen::text(&seen, &question(Some("b")), &answer, Style::Plain);
    assert!(
        screen.starts_with("t/c, a sample of \"b\": DEDUPLICATED\n"),
        "{screen}"
    );
    let row = "d0:80        a                        3.0 s ago    fine          b (2.0 s ago)\n";
    assert!(screen.contains(row), "{screen}");
    assert!(!screen.contains('\x1b'));
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
        accepts_ha: false,
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

#[test]
fn queries_are_encoded() {
    assert_eq!(encoded("a b&c=ü/-_.~"), "a%20b%26c%3D%C3%BC%2F-_.~");
}
