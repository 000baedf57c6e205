//! The screen: the distributors, their steps, the findings, the next step.

use std::fmt::Write as _;
use std::time::Duration;

use crate::judge::{Finding, Place, Severity, Verdict, clean, list};
use crate::snapshot::{DistributorState, Snapshot, short};
use crate::steps::{NEW_STORE, Step, Stores};

/// Columns of the screen, where text is wrapped.
const WIDTH: usize = 100;
/// Equal findings are shown once, for all their targets.
const MAX_FINDINGS: usize = 12;

/// Whether to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Coloured,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }

    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn severity(self, severity: Severity, text: &str) -> String {
        let code = match severity {
            Severity::Stop => "1;31",
            Severity::Warn => "33",
            Severity::Note => "2",
        };
        self.paint(code, text)
    }
}

/// The whole screen.
pub(crate) fn render(before: &Snapshot, now: &Snapshot, verdict: &Verdict, style: Style) -> String {
    let mut text = String::new();
    let old = clean(verdict.old.as_deref().unwrap_or("the old store"));
    let old = old.as_str();
    let title = format!("HA tracker: {old} -> {NEW_STORE}");
    let at = humantime::format_rfc3339_seconds(now.at).to_string();
    let _ = writeln!(
        text,
        "{}{at:>1$}",
        style.bold(&title),
        WIDTH.saturating_sub(title.chars().count())
    );
    let _ = writeln!(text, "{}\n", path(verdict, style));
    table(&mut text, before, now, style);
    text.push('\n');
    findings(&mut text, &verdict.findings, style);
    text.push_str(&conclusion(verdict, old, style));
    text
}

/// All steps, and where the fleet is among them.
fn path(verdict: &Verdict, style: Style) -> String {
    let is_here = |step: Step| match verdict.place {
        Place::At(here) => here == step,
        Place::Between(first, second) => first == step || second == step,
        Place::Scattered => false,
    };
    let steps = (0..=Step::LAST.0).map(Step).map(|step| {
        let name = format!("{} {}", step.0, name(step));
        match is_here(step) {
            true => style.bold(&format!("[{name}]")),
            false => format!(" {name} "),
        }
    });
    let path = steps.collect::<Vec<_>>().join(" ");
    path.trim_end().to_owned()
}

fn name(step: Step) -> &'static str {
    match step.0 {
        0 => "old store",
        1 => "multi",
        2 => "mirroring",
        3 => "memberlist primary",
        4 => "mirroring off",
        _ => "memberlist",
    }
}

fn table(text: &mut String, before: &Snapshot, now: &Snapshot, style: Style) {
    let width = now
        .targets
        .iter()
        .map(|(target, _)| short(target).chars().count())
        .max()
        .unwrap_or(0)
        .clamp(11, 34);
    let header = format!(
        "{:<width$} {:>4}  {:<10} {:>9} {:>8} {:>7} {:>7} {:>7} {:>8}",
        "distributor",
        "step",
        "reads",
        "mirrors to",
        "writes/s",
        "errors",
        "behind",
        "members",
        "clusters",
    );
    let _ = writeln!(text, "{}", style.bold(&header));
    let since = now.at.duration_since(before.at).unwrap_or_default();
    for (target, state) in &now.targets {
        let shown: String = short(target).chars().take(width).collect();
        match state {
            Err(error) => {
                let line = clean(&format!("{shown:<width$}    -  {error}"));
                let _ = writeln!(text, "{}", style.severity(Severity::Stop, &line));
            }
            Ok(state) => {
                let row = clean(&row(before.of(target), state, since));
                let _ = writeln!(text, "{shown:<width$} {row}");
            }
        }
    }
}

fn row(before: Option<&DistributorState>, state: &DistributorState, since: Duration) -> String {
    let (reads, mirrors) = match &state.stores {
        Stores::NoTracker => ("-", "-"),
        Stores::Alone(store) => (store.as_str(), "-"),
        Stores::Multi {
            primary,
            secondary,
            mirror_enabled,
        } => (
            primary.as_str(),
            if *mirror_enabled { secondary } else { "-" },
        ),
    };
    let step = state.stores.step();
    let mirrors_now = step.is_some_and(|(step, _)| step.mirrors());
    let rate = before
        .filter(|before| before.writes <= state.writes && !since.is_zero() && mirrors_now)
        .map(|before| (state.writes - before.writes) as f64 / since.as_secs_f64());
    let optional = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let errors = mirrors_now.then_some(state.errors);
    let comparison = state
        .details
        .as_ref()
        .and_then(|details| details.comparison.as_ref());
    let behind = comparison.filter(|_| mirrors_now).map(|compared| {
        compared
            .as_ref()
            .map_or("?".to_owned(), |compared| compared.behind().to_string())
    });
    let members = state
        .gossip
        .as_ref()
        .map(|gossip| gossip.active().count() as u64);
    let clusters = state.elected.as_ref().map(|elected| elected.len() as u64);
    format!(
        "{:>4}  {reads:<10} {mirrors:>10} {:>8} {:>7} {:>7} {:>7} {:>8}",
        step.map_or("?".to_owned(), |(step, _)| step.0.to_string()),
        rate.map_or("-".to_owned(), |rate| format!("{rate:.1}")),
        optional(errors),
        behind.unwrap_or_else(|| "-".to_owned()),
        optional(members),
        optional(clusters),
    )
}

/// Findings of several targets that differ in nothing else are one.
fn findings(text: &mut String, findings: &[Finding], style: Style) {
    let mut merged: Vec<(&Finding, Vec<&str>)> = Vec::new();
    for finding in findings {
        let same = merged.iter_mut().find(|(known, _)| {
            (known.severity, &known.what, &known.to_do)
                == (finding.severity, &finding.what, &finding.to_do)
        });
        let target = finding.target.as_deref().map(short);
        match same {
            Some((_, targets)) => targets.extend(target),
            None => merged.push((finding, target.into_iter().collect())),
        }
    }
    for (finding, targets) in merged.iter().take(MAX_FINDINGS) {
        let mark = match finding.severity {
            Severity::Stop => "STOP",
            Severity::Warn => "warn",
            Severity::Note => "note",
        };
        let who = match targets.as_slice() {
            [] => String::new(),
            [target] => format!("{target}: "),
            many => format!("{} distributors ({}): ", many.len(), list(many)),
        };
        let what = wrap(&format!("{who}{}", finding.what), WIDTH - 6, "      ");
        let _ = writeln!(text, "{}  {what}", style.severity(finding.severity, mark));
        let to_do = wrap(&format!("-> {}", finding.to_do), WIDTH - 6, "         ");
        let _ = writeln!(text, "      {to_do}");
    }
    if merged.len() > MAX_FINDINGS {
        let _ = writeln!(text, "      and {} more", merged.len() - MAX_FINDINGS);
    }
    if !merged.is_empty() {
        text.push('\n');
    }
}

/// The conclusion.
fn conclusion(verdict: &Verdict, old: &str, style: Style) -> String {
    let safe = |line: &str| style.paint("1;32", line);
    match (&verdict.place, verdict.is_safe(), verdict.next()) {
        (Place::At(step), true, Some(next)) => format!(
            "{}\n{}",
            safe(&format!(
                "All on step {} ({}). SAFE to take step {}: {}.",
                step.0,
                step.title(),
                next.0,
                next.title()
            )),
            settings(next, old, verdict)
        ),
        (Place::At(step), true, None) => format!(
            "{}\n  The old store is no longer used. Remove it when you will not go back.\n",
            safe(&format!("All on step {} ({}). DONE.", step.0, step.title()))
        ),
        (Place::At(step), false, next) => {
            let what = match next {
                Some(next) => format!("NOT SAFE to take step {} ({}) now", next.0, next.title()),
                None => "NOT DONE yet".to_owned(),
            };
            let line = format!("All on step {} ({}). {what}.", step.0, step.title());
            format!("{}\n", style.severity(Severity::Stop, &line))
        }
        (Place::Between(first, second), _, _) => {
            let line = format!(
                "Between steps {} and {}. NOT SAFE to continue. Step {} is:",
                first.0, second.0, second.0
            );
            let line = style.severity(Severity::Stop, &line);
            format!("{line}\n{}", settings(*second, old, verdict))
        }
        (Place::Scattered, _, _) if verdict.repair.is_some() => {
            let repair = verdict.repair.unwrap_or(Step(2));
            let line = format!(
                "Not all on one step. NOT SAFE. Bring all to step {}:",
                repair.0
            );
            let line = style.severity(Severity::Stop, &line);
            format!("{line}\n{}", settings(repair, old, verdict))
        }
        (Place::Scattered, _, _) => {
            format!(
                "{}\n",
                style.severity(Severity::Stop, "Not all on one step. NOT SAFE to continue.")
            )
        }
    }
}

/// What a step is made of.
fn settings(step: Step, old: &str, verdict: &Verdict) -> String {
    let settings = step.settings(old, verdict.is_overridden);
    settings.lines().map(|line| format!("  {line}\n")).collect()
}

/// Breaks lines between words.
fn wrap(text: &str, width: usize, indent: &str) -> String {
    let mut wrapped = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            wrapped.push('\n');
            wrapped.push_str(indent);
            column = indent.chars().count().saturating_sub(6);
        } else if column > 0 {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += length;
    }
    wrapped
}
