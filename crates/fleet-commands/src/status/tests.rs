//! What is found about a fleet, and how it is shown.

use admin_api::Severity;

use super::judge::{Level, elections_differ, judge};
use super::*;

fn instance(name: &str, active: &[&str], elected: &[(&str, &str)]) -> Instance {
    Instance {
        version: "1.0.0".to_owned(),
        revision: "abc".to_owned(),
        not_ready: None,
        conditions: Vec::new(),
        gossip: Some(Gossip {
            own_name: name.to_owned(),
            active: active.iter().map(|name| (*name).to_owned()).collect(),
        }),
        elected: elected
            .iter()
            .map(|(cluster, replica)| {
                (
                    ("t".to_owned(), (*cluster).to_owned()),
                    (*replica).to_owned(),
                )
            })
            .collect(),
    }
}

fn fleet() -> Vec<Seen> {
    let elected = [("c", "a"), ("d", "b")];
    ["m1", "m2"]
        .map(|name| {
            let instance = instance(name, &["m1", "m2"], &elected);
            (format!("http://{name}:80"), Ok(instance))
        })
        .to_vec()
}

fn of(seen: &mut [Seen], index: usize) -> &mut Instance {
    seen[index].1.as_mut().unwrap()
}

fn found(seen: &[Seen]) -> Vec<(Level, String)> {
    let findings = judge(seen).into_iter();
    findings.map(|one| (one.level, one.what)).collect()
}

#[test]
fn a_fleet_that_agrees_needs_nothing() {
    assert_eq!(found(&fleet()), []);
    let text = screen::text(&fleet(), &[], SystemTime::UNIX_EPOCH, Style::Plain);
    assert_eq!(
        text,
        "2 distributor(s) at 1970-01-01T00:00:00Z: nothing needs attention\n\n\
         distributor  version   revision    ready members clusters attention\n\
         m1:80        1.0.0     abc         yes         2        2         -\n\
         m2:80        1.0.0     abc         yes         2        2         -\n"
    );
}

#[test]
fn what_differs_is_found() {
    let mut seen = fleet();
    of(&mut seen, 1).version = "1.1.0".to_owned();
    assert_eq!(found(&seen)[0].0, Level::Warning);

    let mut seen = fleet();
    *of(&mut seen, 1) = instance("m2", &["m2"], &[("c", "b"), ("d", "b")]);
    assert!(elections_differ(&seen));
    let found = found(&seen);
    assert_eq!(found.len(), 2, "{found:?}");
    let what = "The distributors see different members: 2 active on m1:80; 1 active on m2:80";
    assert_eq!(found[0], (Level::Critical, what.to_owned()));
    assert!(
        found[1].1.ends_with("t/c: \"a\" on m1:80, \"b\" on m2:80"),
        "{found:?}"
    );

    // A cluster that one of them does not know.
    let mut seen = fleet();
    of(&mut seen, 0).elected.clear();
    assert!(elections_differ(&seen));
}

#[test]
fn conditions_of_several_are_told_once_the_worst_first() {
    let mut seen = fleet();
    for index in 0..2 {
        let conditions = &mut of(&mut seen, index).conditions;
        for severity in [Severity::Warning, Severity::Critical] {
            conditions.push(Condition {
                component: "server".to_owned(),
                remedy: "Do it".to_owned(),
                severity,
                since: String::new(),
                what: severity.as_str().to_owned(),
            });
        }
    }
    seen.push(("http://m3:80".to_owned(), Err("refused".to_owned())));
    let findings = judge(&seen);
    let shown: Vec<_> = findings
        .iter()
        .map(|one| (one.level, one.what.as_str(), one.instances.len()))
        .collect();
    assert_eq!(
        shown,
        [
            (Level::Critical, "Its pages cannot be read: refused", 1),
            (Level::Critical, "critical", 2),
            (Level::Warning, "warning", 2),
        ]
    );
    let text = screen::text(&seen, &findings, SystemTime::UNIX_EPOCH, Style::Plain);
    assert!(
        text.contains("3 distributor(s) at 1970-01-01T00:00:00Z: 2 critical, 1 warning(s)\n"),
        "{text}"
    );
    assert!(
        text.contains("CRITICAL  m1:80, m2:80: critical. Do it.\n"),
        "{text}"
    );
    assert!(!text.contains('\x1b'));
}

#[test]
fn members_that_are_no_targets_are_noted() {
    let mut seen = fleet();
    for index in 0..2 {
        of(&mut seen, index)
            .gossip
            .as_mut()
            .unwrap()
            .active
            .push("m9".to_owned());
    }
    let findings = judge(&seen);
    assert!(findings.iter().all(judge::Finding::is_note));
    assert!(findings[0].what.ends_with("is: m9"), "{findings:?}");
}
