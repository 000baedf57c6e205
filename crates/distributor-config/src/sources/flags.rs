//! Flags as Go's `flag` package reads them: `-flag=value`, `-flag value`, `--flag`, and booleans
//! without a value. Flags of Mimir's that are none of ours are read likewise, and have no effect.

use std::ffi::OsString;

use settings::{Kind, Setting, parse_bool, split_list};

use super::collect::{Assignment, parse_text};
use super::meant::nearest;
use crate::errors::{Findings, Origin};
use crate::mimir::{self, MimirSetting};
use crate::schema::{FLAGS_ALSO, all_settings};
use crate::table::CONTROL;

/// What the command line says.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    pub(crate) help: bool,
    pub(crate) help_all: bool,
    pub(crate) version: bool,
    pub(crate) modules: bool,
    pub(crate) check: bool,
    pub(crate) print: bool,
    pub(crate) strict: bool,
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
    let mut after_switch = None;
    while let Some(argument) = arguments.next() {
        // Arguments after this are not flags, even with a dash.
        if argument == "--" {
            for argument in arguments {
                findings.error(&argument, "", no_flag(&argument, None));
            }
            break;
        }
        let switch = after_switch.take();
        let Some((name, value)) = split(&argument) else {
            findings.error(&argument, "", no_flag(&argument, switch));
            continue;
        };
        let Some(flag) = Flag::named(name) else {
            findings.error(&Origin::Flag(name.to_string()), "", unknown(name));
            // Its value would be reported as a second mistake.
            continue;
        };
        let value = match value {
            Some(value) => value.to_string(),
            None if flag.is_switch() => {
                after_switch = Some(name.to_string());
                "true".to_string()
            }
            None => match arguments.next() {
                Some(value) => value,
                None => {
                    let problem = format!("needs a value: {}", flag.expected());
                    findings.error(&Origin::Flag(name.to_string()), flag.path(), problem);
                    continue;
                }
            },
        };
        let setting = match flag {
            Flag::Ours(setting) => setting,
            Flag::Ignored(_) => {
                findings.ignored.push(format!("-{name}"));
                continue;
            }
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

/// Name and value, if it has one; `None` if `argument` is no flag.
fn split(argument: &str) -> Option<(&str, Option<&str>)> {
    let name = argument
        .strip_prefix("--")
        .or_else(|| argument.strip_prefix('-'))
        .filter(|name| !name.is_empty())?;
    Some(match name.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (name, None),
    })
}

/// A flag that is known.
enum Flag {
    Ours(&'static Setting),
    /// Mimir's, without effect.
    Ignored(&'static MimirSetting),
}

impl Flag {
    fn named(name: &str) -> Option<Self> {
        let name = match FLAGS_ALSO.iter().find(|(other, _)| *other == name) {
            Some((_, name)) => name,
            None => name,
        };
        let known = |setting: &&Setting| !setting.flag.is_empty() && setting.flag == name;
        let ours = CONTROL.iter().chain(all_settings()).find(known);
        ours.map(Self::Ours)
            .or_else(|| mimir::by_flag(name).map(Self::Ignored))
    }

    /// Whether it needs no value.
    fn is_switch(&self) -> bool {
        match self {
            Self::Ours(setting) => matches!(setting.kind, Kind::Bool),
            Self::Ignored(setting) => setting.kind == "bool",
        }
    }

    fn expected(&self) -> String {
        match self {
            Self::Ours(setting) => setting.expected(),
            Self::Ignored(setting) => setting.kind.to_string(),
        }
    }

    fn path(&self) -> &'static str {
        match self {
            Self::Ours(setting) => setting.path,
            Self::Ignored(setting) => setting.path,
        }
    }
}

/// What is wrong with an argument that is no flag, and follows `switch`, a flag without a value.
fn no_flag(argument: &str, switch: Option<String>) -> String {
    match switch {
        Some(switch) if parse_bool(argument).is_some() => {
            format!("the value of a boolean flag follows its =; write -{switch}={argument}")
        }
        _ => "not a flag; flags begin with a dash".to_string(),
    }
}

fn unknown(name: &str) -> String {
    let ours = CONTROL.iter().chain(all_settings()).map(|s| s.flag);
    let mimirs = mimir::all().iter().map(|setting| setting.flag);
    let near = mimir::renamed_flag(name).or_else(|| nearest(name, ours));
    match near.or_else(|| nearest(name, mimirs)) {
        Some(near) => format!("unknown flag; did you mean -{near}?"),
        None => "unknown flag; -help-all lists all".to_string(),
    }
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
        "modules" => flags.modules = value,
        "config.check" => flags.check = value,
        "config.strict" => flags.strict = value,
        "print.config" => flags.print = value,
        _ => flags.expand_env = value,
    }
}
