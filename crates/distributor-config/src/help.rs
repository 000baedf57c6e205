//! `-help`, `-help-all` and the configuration reference, generated from the table.

use std::fmt::Write as _;

use super::kind::Kind;
use super::memberlist_table::{SECTION, SECTION_IN_KVSTORE};
use super::setting::Setting;
use super::subtables::{DOWNSTREAM, RUNTIME};
use super::table::{CONTROL, SETTINGS};

/// The text of `-help`, or of `-help-all`.
pub(super) fn help(all: bool) -> String {
    let mut flags: Vec<&Setting> = CONTROL
        .iter()
        .chain(SETTINGS)
        .filter(|setting| !setting.flag.is_empty() && (all || setting.basic))
        .collect();
    flags.sort_by_key(|setting| setting.flag);
    let mut text = String::from(
        "Usage of distributor:
  distributor [flags]                   run the distributor
  distributor demo [flags]              see it work, without any other software (demo -help)
  distributor migration status [flags]  whether a fleet may take its next step from Consul or etcd
                                        to memberlist (migration -help)

Flags:
",
    );
    for setting in flags {
        // Writing to a String cannot fail.
        let _ = match setting.kind {
            Kind::Bool => writeln!(text, "  -{}", setting.flag),
            kind => writeln!(text, "  -{} {}", setting.flag, kind.word()),
        };
        let default = match (setting.default, setting.kind) {
            ("", _) | ("false", Kind::Bool) => String::new(),
            (default, _) => format!(" (default {default})"),
        };
        let _ = writeln!(text, "    \t{}{default}", setting.help);
    }
    let more = if all {
        ""
    } else {
        "-help-all lists all flags. "
    };
    let _ = writeln!(
        text,
        "\n{more}Every setting can also stand in a YAML file and in the environment."
    );
    text
}

const INTRODUCTION: &str = "\
# Configuration reference

<!-- Generated from the table of settings in crates/distributor-config/src/table.rs. -->

Settings come from, later ones win:

1. the defaults below;
2. YAML files, given by `-config.file`, merged in their order;
3. environment variables: `HA_DISTRIBUTOR_` and the path in capitals, with `__` between its \
levels, for example `HA_DISTRIBUTOR_SERVER__HTTP_LISTEN_PORT=8081`;
4. flags: `-flag=value`, `-flag value` or `--flag=value`; a boolean needs no value.

Names are those of Grafana Mimir. Sections and settings of Mimir that have no effect here are \
ignored, with one warning that names them. Any other unknown name is a mistake. All mistakes are \
reported in one run, and the exit status is 64.

Durations are written as in Go (`1m30s`, `500ms`), sizes in bytes or with a unit (`100MiB`, \
`1GB`). Lists are YAML lists, or text with commas. Secrets are never printed.
";

/// The configuration reference, as Markdown: the content of `docs/configuration.md`.
pub fn reference_markdown() -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str("\n## Flags that are no settings\n\n| flag | type | default | description |\n");
    text.push_str("|---|---|---|---|\n");
    for setting in CONTROL {
        let _ = writeln!(
            text,
            "| `-{}` | {} | {} | {} |",
            setting.flag,
            setting.kind.word(),
            code(setting.default),
            cell(setting)
        );
    }
    let mut section = None;
    for setting in SETTINGS {
        let (name, _) = setting.path.split_once('.').unwrap_or(("", setting.path));
        if section != Some(name) {
            section = Some(name);
            let title = if name.is_empty() {
                "Top level".to_string()
            } else {
                format!("`{name}`")
            };
            let _ = write!(text, "\n## {title}\n\n");
            if name == SECTION {
                let _ = write!(
                    text,
                    "Gossip between the distributors, for `store: memberlist`. In a YAML file the \
                     section may stand at the top or as `{SECTION_IN_KVSTORE}`. If one file has \
                     both, what the inner one sets wins over the same in the outer one. Then as \
                     for all settings: a later file wins over an earlier one, the environment \
                     over files, and a flag over everything.\n\n"
                );
            }
            text.push_str(
                "| YAML | flag | type | default | description |\n|---|---|---|---|---|\n",
            );
        }
        let flag = if setting.flag.is_empty() {
            String::new()
        } else {
            format!("-{}", setting.flag)
        };
        row(&mut text, setting, Some(&flag));
    }
    text.push_str("\n## Entries of `distributor.downstream`\n\n");
    rows(&mut text, DOWNSTREAM);
    text.push_str(
        "\n## Runtime configuration file\n\nThe files of `runtime_config.file`. What a tenant does \
         not override has the value of `limits`. A file with a mistake is refused as a whole, and \
         what was loaded last stays in effect.\n\n",
    );
    rows(&mut text, RUNTIME);
    text
}

fn rows(text: &mut String, table: &[Setting]) {
    text.push_str("| YAML | type | default | description |\n|---|---|---|---|\n");
    for setting in table {
        row(text, setting, None);
    }
}

fn row(text: &mut String, setting: &Setting, flag: Option<&str>) {
    let flag = flag
        .map(|flag| format!(" {} |", code(flag)))
        .unwrap_or_default();
    let _ = writeln!(
        text,
        "| `{}` |{flag} {} | {} | {} |",
        setting.path,
        setting.kind.word(),
        code(setting.default),
        cell(setting)
    );
}

fn code(value: &str) -> String {
    if value.is_empty() {
        String::new()
    } else {
        format!("`{value}`")
    }
}

fn cell(setting: &Setting) -> String {
    let mut text = setting.help.replace('|', "\\|");
    if setting.nonzero {
        text.push_str(if matches!(setting.kind, Kind::Text) {
            " Not empty."
        } else {
            " More than 0."
        });
    }
    if setting.secret {
        text.push_str(" Secret.");
    }
    if !setting.also.is_empty() {
        let _ = write!(text, " Also accepted as `{}`.", setting.also);
    }
    text
}
