//! The part of the table that stands in a file of its own.

use settings::{Kind, Setting};

/// What the runtime configuration file holds.
pub(super) static RUNTIME: &[Setting] = &[
    Setting::new(
        "overrides",
        "",
        Kind::Tenants,
        "",
        "For each tenant, any of the settings of limits, with the same names.",
    ),
    Setting::new(
        "multi_kv_config.primary",
        "",
        Kind::Text,
        "",
        "Primary store of the multi store; overrides the configuration.",
    ),
    Setting::new(
        "multi_kv_config.mirror_enabled",
        "",
        Kind::Bool,
        "",
        "Whether the multi store mirrors; overrides the configuration.",
    ),
];
