//! The answer, for people and for programs.

use std::fmt::Write as _;

use admin_api::ClusterState;
use explanation::{Answer, Question, Sample, Seen, View, about, between};
use fleet_client::short;
use serde_json::json;

use crate::output::{Style, clean, wrapped};

pub(super) fn text(seen: &[Seen], question: &Question, answer: &Answer, style: Style) -> String {
    let mut out = String::new();
    let title = format!("{}/{}", question.tenant, question.cluster);
    let _ = write!(out, "{}", style.bold(&clean(&title)));
    if let (Some(replica), Some(sample)) = (&question.replica, answer.sample) {
        let (code, word) = match sample {
            Sample::Stored => ("1;32", "STORED"),
            Sample::Deduplicated => ("33", "DEDUPLICATED"),
            Sample::Refused => ("1;31", "REFUSED"),
            Sample::Differs => ("1;31", "DIFFERS"),
        };
        let word = style.paint(code, word);
        let _ = write!(
            out,
            ", a sample of {}: {word}",
            clean(&format!("{replica:?}"))
        );
    }
    out.push_str("\n\n");
    for sentence in &answer.sentences {
        wrapped(&mut out, &clean(sentence), 0);
    }
    if !answer.advice.is_empty() {
        let _ = writeln!(out, "\n{}", style.bold("What to do:"));
    }
    for advice in &answer.advice {
        out.push_str("- ");
        wrapped(&mut out, &clean(advice), 2);
    }
    out.push('\n');
    table(&mut out, seen, style);
    out
}

fn table(out: &mut String, seen: &[Seen], style: Style) {
    let widest = seen.iter().map(|(target, _)| short(target).chars().count());
    let width = widest.max().unwrap_or(0).clamp(11, 40);
    let header = format!(
        "{:<width$}  {:<24} {:<12} {:<13} other replicas seen there",
        "distributor", "elected", "last seen", "state"
    );
    let _ = writeln!(out, "{}", style.bold(&header));
    for (target, view) in seen {
        let name = clean(short(target));
        let _ = write!(out, "{name:<width$}  ");
        let line = match view {
            Err(error) => style.paint("1;31", &clean(error)),
            Ok(view) => row(view),
        };
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

fn row(view: &View) -> String {
    let Some(elected) = &view.elected else {
        return "not known here".to_owned();
    };
    let ago = |seen: &str| match between(seen, &view.now) {
        Some(ago) => format!("{} ago", about(ago)),
        None => "-".to_owned(),
    };
    let others: Vec<String> = elected
        .other_replicas
        .iter()
        .map(|other| format!("{} ({})", clean(&other.replica), ago(&other.last_seen)))
        .collect();
    format!(
        "{:<24} {:<12} {:<13} {}",
        clean(&elected.replica),
        ago(&elected.last_seen),
        elected.state.map_or("-", ClusterState::as_str),
        match others.is_empty() {
            true => "-".to_owned(),
            false => others.join(", "),
        }
    )
}

pub(super) fn json(seen: &[Seen], question: &Question, answer: &Answer) -> serde_json::Value {
    let instances: Vec<_> = seen
        .iter()
        .map(|(target, view)| match view {
            Ok(view) => json!({
                "target": target,
                "trackerEnabled": view.is_tracker_enabled,
                "acceptsHaSamples": view.rules.accepts_ha,
                "election": view.elected,
            }),
            Err(error) => json!({"target": target, "error": error}),
        })
        .collect();
    json!({
        "ok": answer.is_well,
        "tenant": question.tenant,
        "cluster": question.cluster,
        "replica": question.replica,
        "elected": answer.elected,
        "sample": answer.sample,
        "sentences": answer.sentences,
        "advice": answer.advice,
        "instances": instances,
    })
}

#[cfg(test)]
mod tests {
    use explanation::Rules;

    use super::*;

    #[test]
    fn the_screen_has_the_answer_the_advice_and_each_distributor() {
        let elected = r#"{"userID":"t","cluster":"c","replica":"a","state":"fine",
            "lastSeen":"2026-01-01T00:00:57Z",
            "otherReplicas":[{"lastSeen":"2026-01-01T00:00:58Z","replica":"b"}]}"#;
        let view = View {
            is_tracker_enabled: true,
            rules: Rules::default(),
            elected: serde_json::from_str(elected).unwrap(),
            now: "2026-01-01T00:01:00Z".to_owned(),
            similar: Vec::new(),
            clusters: None,
        };
        let seen = [("d0:80".to_owned(), Ok(view))];
        let question = Question {
            tenant: "t".to_owned(),
            cluster: "c".to_owned(),
            replica: Some("b".to_owned()),
        };
        let answer = Answer {
            elected: Some("a".to_owned()),
            sample: Some(Sample::Deduplicated),
            sentences: vec!["It is dropped.".to_owned()],
            advice: vec!["Do nothing.".to_owned()],
            is_well: true,
        };
        let screen = text(&seen, &question, &answer, Style::Plain);
        assert!(
            screen.starts_with("t/c, a sample of \"b\": DEDUPLICATED\n\nIt is dropped.\n\nWhat to do:\n- Do nothing.\n"),
            "{screen}"
        );
        let row =
            "d0:80        a                        3.0 s ago    fine          b (2.0 s ago)\n";
        assert!(screen.contains(row), "{screen}");
        assert!(!screen.contains('\x1b'));
    }
}
