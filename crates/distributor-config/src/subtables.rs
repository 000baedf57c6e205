//! The part of the table that stands in a file of its own.

use std::sync::LazyLock;

use ingest::InstanceLimits;
use settings::{Kind, Setting};

/// The section of the runtime configuration with limits of the instance.
pub(super) const DISTRIBUTOR_LIMITS: &str = "distributor_limits";

/// What the runtime configuration file holds.
pub(super) fn runtime() -> &'static [Setting] {
    static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
        let limits = InstanceLimits::SETTINGS.iter().map(|row| Setting {
            path: format!("{DISTRIBUTOR_LIMITS}.{}", row.path).leak(),
            flag: "",
            default: "",
            help: format!("Overrides distributor.instance_limits.{}.", row.path).leak(),
            ..*row
        });
        OTHERS.iter().copied().chain(limits).collect()
    });
    &SETTINGS
}

static OTHERS: &[Setting] = &[
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
