//! Help texts, read.

use anyhow::{Context, Result, ensure};

/// What the program is, by its own words.
pub(super) struct Program {
    /// Of the program without a command.
    pub(super) flags: Vec<Flag>,
    pub(super) commands: Vec<Command>,
    /// What follows the flags.
    pub(super) remark: String,
}

/// A command beside running the distributor.
pub(super) struct Command {
    /// Its words, such as `migration status`.
    pub(super) words: Vec<String>,
    pub(super) about: String,
    pub(super) flags: Vec<Flag>,
    /// Its whole help text.
    pub(super) usage: String,
}

/// A flag, with its dashes.
#[derive(Debug, PartialEq)]
pub(super) struct Flag {
    pub(super) name: String,
    /// The kind of its value; empty if it needs none.
    pub(super) kind: String,
    pub(super) help: String,
}

impl Flag {
    pub(super) fn takes_file(&self) -> bool {
        self.kind == "path" || self.name.ends_with(".file") || self.name.ends_with("-file")
    }

    pub(super) fn takes_value(&self) -> bool {
        !self.kind.is_empty()
    }
}

impl Program {
    /// Asks the program, which `ask` calls with arguments, for all its help texts.
    pub(super) fn read(ask: &dyn Fn(&[&str]) -> Result<String>) -> Result<Self> {
        let help = ask(&["-help-all"])?;
        let (head, rest) = help
            .split_once("\nFlags:\n")
            .context("-help-all has no `Flags:`")?;
        let (flags, remark) = rest.split_once("\n\n").unwrap_or((rest, ""));
        let flags = go_flags(flags);
        ensure!(!flags.is_empty(), "-help-all has no flags");
        let commands = listed(head)
            .into_iter()
            .map(|(words, about)| command(ask, words, about))
            .collect::<Result<_>>()?;
        Ok(Self {
            flags,
            commands,
            remark: remark.trim().to_owned(),
        })
    }
}

fn command(
    ask: &dyn Fn(&[&str]) -> Result<String>,
    words: Vec<String>,
    about: String,
) -> Result<Command> {
    let mut arguments: Vec<&str> = words.iter().map(String::as_str).collect();
    arguments.push("--help");
    let usage = ask(&arguments)?;
    let flags = dashed_flags(&usage);
    ensure!(
        !flags.is_empty(),
        "{} --help lists no flags",
        words.join(" ")
    );
    Ok(Command {
        words,
        about,
        flags,
        usage: usage.trim_end().to_owned(),
    })
}

/// The commands in `  distributor WORD… [flags]  about`, whose text may continue on further lines.
fn listed(head: &str) -> Vec<(Vec<String>, String)> {
    let mut commands: Vec<(Vec<String>, String)> = Vec::new();
    let mut is_command = false;
    for line in head.lines() {
        match line.strip_prefix("  distributor ") {
            Some(rest) => {
                let (call, about) = rest.split_once("  ").unwrap_or((rest, ""));
                let is_word = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase());
                let words = call.split_whitespace().take_while(is_word);
                let words: Vec<String> = words.map(str::to_owned).collect();
                is_command = !words.is_empty();
                if is_command {
                    commands.push((words, about.trim().to_owned()));
                }
            }
            None if is_command && line.starts_with("      ") => {
                if let Some((_, about)) = commands.last_mut() {
                    about.push(' ');
                    about.push_str(line.trim());
                }
            }
            None => is_command = false,
        }
    }
    // Where to read more is what this becomes.
    for (_, about) in &mut commands {
        if let Some((before, _)) = about.rsplit_once(" (")
            && about.ends_with("-help)")
        {
            *about = before.to_owned();
        }
    }
    commands
}

/// `  -name kind` and, on the next line, its help.
fn go_flags(text: &str) -> Vec<Flag> {
    let mut flags = Vec::new();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("  -") {
            let (name, kind) = head.split_once(' ').unwrap_or((head, ""));
            flags.push(Flag {
                name: format!("-{name}"),
                kind: kind.to_owned(),
                help: String::new(),
            });
        } else if let Some(flag) = flags.last_mut() {
            flag.help.push_str(line.trim());
        }
    }
    flags
}

/// `  --name  help`, whose help may continue on further lines. Which flags have a value stands in the
/// lines before: `[--name VALUE]`.
fn dashed_flags(usage: &str) -> Vec<Flag> {
    let mut flags: Vec<Flag> = Vec::new();
    let synopsis = usage.split("\n\n").next().unwrap_or_default();
    let mut is_flag = false;
    for line in usage.lines() {
        if let Some(rest) = line.strip_prefix("  --") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            let name = format!("--{name}");
            flags.push(Flag {
                kind: value_of(synopsis, &name),
                name,
                help: help.trim().to_owned(),
            });
            is_flag = true;
        } else if is_flag && line.starts_with("      ") {
            if let Some(flag) = flags.last_mut() {
                flag.help.push(' ');
                flag.help.push_str(line.trim());
            }
        } else {
            is_flag = false;
        }
    }
    flags
}

/// What follows a flag in a synopsis, such as `FILE` or `2s`; empty if nothing does.
fn value_of(synopsis: &str, flag: &str) -> String {
    let mut words = synopsis
        .split_whitespace()
        .map(|word| word.trim_start_matches('['));
    match words
        .by_ref()
        .find(|word| word.trim_end_matches(']') == flag)
    {
        Some(found) if !found.ends_with(']') => match words.next() {
            Some(value) if !value.starts_with('-') && value != "|" => {
                value.trim_end_matches(']').to_owned()
            }
            _ => String::new(),
        },
        _ => String::new(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const HELP: &str = "Usage of distributor:
  distributor [flags]                   run it
  distributor demo [flags]              see it work (demo -help)
  distributor migration status [flags]  whether a fleet may take
                                        its next step (migration -help)

Flags:
  -config.check
    \tCheck it, and exit.
  -config.file list of strings
    \tYAML file.
  -server.cert path
    \tIt's a \"file\" with $5 [x]: \\a.

Every setting can also be set in a YAML file.
";
    const STATUS: &str =
        "Usage: distributor migration status --targets ADDRESS,... [--watch] [--step N]
                                    [--cert-file FILE --key-file FILE]

Says how far a fleet is.

  --targets     every distributor:
                all of them
  --watch       repeat
  --step        a step
  --key-file    a key

Exit status: 0.
";

    pub(in crate::manual) fn program() -> Program {
        let ask = |arguments: &[&str]| {
            Ok(match arguments {
                ["-help-all"] => HELP,
                ["demo", "--help"] => {
                    "Usage: distributor demo [--plain]\n\nShows.\n\n  --plain  lines\n"
                }
                _ => STATUS,
            }
            .to_owned())
        };
        Program::read(&ask).unwrap()
    }

    #[test]
    fn commands_and_flags_are_found() {
        let program = program();
        let [check, file, cert] = program.flags.as_slice() else {
            panic!("three flags");
        };
        assert_eq!(
            (check.name.as_str(), check.takes_value()),
            ("-config.check", false)
        );
        assert_eq!(check.help, "Check it, and exit.");
        assert!(file.takes_file() && file.kind == "list of strings");
        assert!(cert.takes_file());
        assert_eq!(
            program.remark,
            "Every setting can also be set in a YAML file."
        );
        let [demo, status] = program.commands.as_slice() else {
            panic!("two commands");
        };
        assert_eq!(
            (demo.words.join(" "), demo.about.as_str()),
            ("demo".into(), "see it work")
        );
        assert_eq!(status.words, ["migration", "status"]);
        assert_eq!(status.about, "whether a fleet may take its next step");
        let kinds: Vec<(&str, &str)> = status
            .flags
            .iter()
            .map(|flag| (flag.name.as_str(), flag.kind.as_str()))
            .collect();
        let expected = [
            ("--targets", "ADDRESS,..."),
            ("--watch", ""),
            ("--step", "N"),
            ("--key-file", "FILE"),
        ];
        assert_eq!(kinds, expected);
        assert_eq!(status.flags[0].help, "every distributor: all of them");
    }
}
