//! The rows that are no fields of a struct: flags that say what to do, and the list of downstreams.

use settings::{Kind, Setting};

/// The flags that say what to do instead of how to do it.
pub(crate) static CONTROL: &[Setting] = &[
    Setting::new(
        "",
        "config.file",
        Kind::List,
        "",
        "YAML file with the configuration. Several files, separated by commas or given by \
         repeating the flag, are merged; later ones win.",
    )
    .basic(),
    Setting::new(
        "",
        "config.expand-env",
        Kind::Bool,
        "false",
        "Replace ${VAR}, ${VAR:default} and $VAR in the YAML files by values of the environment; \
         $$ stands for one $.",
    )
    .basic(),
    Setting::new(
        "",
        "config.check",
        Kind::Bool,
        "false",
        "Check the configuration and the files that it names, report every mistake, and exit: \
         status 0, or 64 with mistakes.",
    )
    .basic(),
    Setting::new(
        "",
        "config.strict",
        Kind::Bool,
        "false",
        "Refuse names below known sections that are neither ours nor known to be Mimir's, and those \
         in the files of the runtime configuration; without it they are left out, with a warning.",
    ),
    Setting::new(
        "",
        "print.config",
        Kind::Bool,
        "false",
        "Print the configuration as YAML, with every setting and without secrets, and exit; with \
         mistakes, report them instead.",
    )
    .basic(),
    Setting::new(
        "",
        "modules",
        Kind::Bool,
        "false",
        "Print the modules of Mimir that -target knows and exit.",
    ),
    Setting::new(
        "",
        "help",
        Kind::Bool,
        "false",
        "Print the basic flags and exit.",
    )
    .basic(),
    Setting::new(
        "",
        "help-all",
        Kind::Bool,
        "false",
        "Print all flags and exit.",
    )
    .basic(),
    Setting::new(
        "",
        "version",
        Kind::Bool,
        "false",
        "Print the version and exit.",
    )
    .basic(),
];

/// The list of the downstreams, whose entries have the settings `entry`.
pub(crate) fn downstreams(entry: &'static [Setting]) -> Setting {
    Setting::new(
        "distributor.downstream",
        "distributor.downstream.url",
        Kind::Records(entry),
        "",
        "Where accepted samples are sent by remote write; every downstream must accept them. As \
         a flag: the URLs, separated by commas or given by repeating the flag. Without any, \
         samples are counted and dropped.",
    )
    .basic()
}
