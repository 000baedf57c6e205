//! Flags as Go's `flag` package reads them: `-flag=value`, `-flag value`, `--flag`, and booleans
//! without a value.

use std::ffi::OsString;

use settings::{Kind, Setting, parse_bool, split_list};

use super::collect::{Assignment, nearest, parse_text};
use crate::errors::{Findings, Origin};
use crate::schema::all_settings;
use crate::table::CONTROL;

/// What the command line says.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    pub(crate) help: bool,
    pub(crate) help_all: bool,
    pub(crate) version: bool,
    pub(crate) check: bool,
    pub(crate) expand_env: bool,
    pub(crate) files: Vec<String>,
    pub(crate) found: Vec<Assignment>,
}

pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    findings: &mut Findings,
) -> Flags {
    let mut flags = Flags::default();
    let mut raw: Vec<(&'static Setting, String)> = Vec::new();
    let mut arguments = arguments
        .into_iter()
        .map(|a| a.to_string_lossy().into_owned());
    while let Some(argument) = arguments.next() {
        let Some(name) = argument
            .strip_prefix("--")
            .or_else(|| argument.strip_prefix('-'))
        else {
            findings.error(
                &argument,
                "",
                "an argument that is no flag; flags begin with a dash",
            );
            continue;
        };
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_string())),
            None => (name, None),
        };
        let name = if name == "h" { "help" } else { name };
        let Some(setting) = named(name) else {
            let candidates = CONTROL.iter().chain(all_settings()).map(|s| s.flag);
            let problem = match nearest(name, candidates) {
                Some(near) => format!("unknown flag; did you mean -{near}?"),
                None => "unknown flag; -help-all lists all".to_string(),
            };
            findings.error(&Origin::Flag(name.to_string()), "", problem);
            // Its value would be reported as a second mistake.
            continue;
        };
        let value = match value {
            Some(value) => value,
            None if matches!(setting.kind, Kind::Bool) => "true".to_string(),
            None => match arguments.next() {
                Some(value) => value,
                None => {
                    let problem = format!("needs a value: {}", setting.expected());
                    findings.error(&Origin::Flag(name.to_string()), setting.path, problem);
                    continue;
                }
            },
        };
        // As in Go the last one wins, but lists add up.
        match raw
            .iter_mut()
            .find(|(known, _)| std::ptr::eq(*known, setting))
        {
            Some((_, earlier)) if setting.kind.accumulates() => {
                *earlier = format!("{earlier},{value}");
            }
            Some((_, earlier)) => *earlier = value,
            None => raw.push((setting, value)),
        }
    }
    for (setting, text) in raw {
        let origin = Origin::Flag(setting.flag.to_string());
        if setting.path.is_empty() {
            control(setting, &text, &origin, &mut flags, findings);
        } else if let Some(value) = parse_text(setting, setting.path, &text, &origin, findings) {
            flags.found.push(Assignment {
                path: setting.path,
                value,
                origin,
            });
        }
    }
    flags
}

fn named(flag: &str) -> Option<&'static Setting> {
    let known = |setting: &&Setting| !setting.flag.is_empty() && setting.flag == flag;
    CONTROL.iter().chain(all_settings()).find(known)
}

fn control(
    setting: &Setting,
    text: &str,
    origin: &Origin,
    flags: &mut Flags,
    findings: &mut Findings,
) {
    if setting.flag == "config.file" {
        flags.files = split_list(text);
        return;
    }
    let Some(value) = parse_bool(text) else {
        findings.error(
            origin,
            "",
            format!("got {text:?}; must be {}", setting.expected()),
        );
        return;
    };
    match setting.flag {
        "help" => flags.help = value,
        "help-all" => flags.help_all = value,
        "version" => flags.version = value,
        "config.check" => flags.check = value,
        _ => flags.expand_env = value,
    }
}
