//! `target`: which of Mimir's components to run. This program is one of them, the distributor.

use std::fmt::Write as _;

use settings::split_list;

use crate::errors::Findings;
use crate::sources::meant::nearest;

/// The components that Mimir can be told to run, and whether a distributor is in them.
const TARGETS: [(&str, bool); 20] = [
    ("alertmanager", false),
    ("all", true),
    ("backend", false),
    ("block-builder", false),
    ("block-builder-scheduler", false),
    ("compactor", false),
    ("continuous-test", false),
    ("distributor", true),
    ("flusher", false),
    ("ingester", false),
    ("overrides-exporter", false),
    ("purger", false),
    ("querier", false),
    ("query-frontend", false),
    ("query-scheduler", false),
    ("read", false),
    ("ruler", false),
    ("store-gateway", false),
    ("usage-tracker", false),
    ("write", true),
];

/// The text of `-modules`.
pub(crate) fn list_targets() -> String {
    let mut text = String::new();
    for (name, has_distributor) in TARGETS {
        let mark = if has_distributor { " *" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name}{mark}");
    }
    text.push_str(
        "\nModules of Mimir. Those marked with * contain the distributor, which is what this program \
         runs of them; -target needs one of them.\n",
    );
    text
}

/// A distributor must be in `target`; what else is in it runs elsewhere, or not at all.
pub(crate) fn check_target(target: &str, origin: &str, findings: &mut Findings) {
    let names = split_list(target);
    let known = |name: &str| TARGETS.iter().find(|(known, _)| *known == name);
    let unknown: Vec<&String> = names.iter().filter(|name| known(name).is_none()).collect();
    for name in &unknown {
        let meant = nearest(name, TARGETS.iter().map(|(name, _)| *name));
        let hint = meant.map_or("-modules lists them".to_owned(), |meant| {
            format!("did you mean {meant}?")
        });
        let problem = format!("got {name:?}, which is no module of Mimir; {hint}");
        findings.error(origin, "target", problem);
    }
    if !unknown.is_empty() {
        return;
    }
    let has_distributor =
        |name: &str| known(name).is_some_and(|(_, has_distributor)| *has_distributor);
    if !names.iter().any(|name| has_distributor(name)) {
        let problem = format!(
            "got {target:?}, in which there is no distributor, and this program is nothing else; must \
             contain distributor, write or all"
        );
        findings.error(origin, "target", problem);
        return;
    }
    let others: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| *name != "distributor")
        .collect();
    if !others.is_empty() {
        findings.warnings.push(format!(
            "target is {target:?} ({origin}), but this program runs the distributor only: what else is \
             in {} must run elsewhere; set it to distributor",
            others.join(", ")
        ));
    }
}
