//! The answer, for people and for programs.

use std::fmt::Write as _;

use admin_api::ClusterState;
use fleet_client::short;
use serde_json::json;

use super::answer::{Answer, Question, Sample, between};
use super::{Seen, View};
use crate::output::{Style, about, clean, wrapped};

pub(super) fn text(seen: &[Seen], question: &Question, answer: &Answer, style: Style) -> String {
    let mut out = String::new();
    let title = format!("{}/{}", question.tenant, question.cluster);
    let _ = write!(out, "{}", style.bold(&clean(&title)));
    if let (Some(replica), Some(sample)) = (&question.replica, answer.sample) {
        let (code, word) = match sample {
            Sample::Stored => ("1;32", "STORED"),
            Sample::Deduplicated => ("33", "DEDUPLICATED"),
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
                "acceptsHaSamples": view.accepts_ha,
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
        "instances": instances,
    })
}
