//! `distributor demo` as a user starts it, with its output in a pipe.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

use std::process::{Command, Output};

fn demo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_distributor"))
        .arg("demo")
        .args(arguments)
        .output()
        .unwrap()
}

/// The first number of the line that begins with `title`.
fn number(text: &str, title: &str) -> u64 {
    let line = text
        .lines()
        .find(|line| line.starts_with(title))
        .unwrap_or_else(|| panic!("no line {title:?} in:\n{text}"));
    let number = line[title.len()..].split_whitespace().next().unwrap();
    number.replace(',', "").parse().unwrap()
}

#[test]
fn a_failover_doubles_and_loses_nothing() {
    assert_eq!(gaps_of_a_failover(&["--quick"]), 0);
}

#[test]
fn a_classic_failover_costs_a_gap() {
    assert_eq!(gaps_of_a_failover(&["--quick", "--failover", "classic"]), 1);
}

/// Of a run in which nothing else is missing.
fn gaps_of_a_failover(arguments: &[&str]) -> u64 {
    let output = demo(arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}\n{errors}");
    assert_eq!(errors, "");
    assert!(!text.contains('\u{1b}'), "lines only, where no terminal is");
    assert_eq!(number(&text, "doubled"), 0);
    assert_eq!(number(&text, "lost"), 0);
    assert_eq!(number(&text, "failovers"), 1);
    let stored = number(&text, "stored at the sink");
    assert!(stored > 2000, "{text}");
    let verdict = "OK: every accepted sample is stored, exactly once.";
    assert_eq!(text.lines().last(), Some(verdict), "{text}");
    number(&text, "gaps")
}

#[test]
fn a_wrong_command_line_is_told() {
    let output = demo(&["--fast"]);
    assert_eq!(output.status.code(), Some(64));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("--fast") && errors.contains("Usage: distributor demo"));
    let help = demo(&["--help"]);
    assert!(help.status.success());
    assert!(String::from_utf8(help.stdout).unwrap().contains("--quick"));
}
