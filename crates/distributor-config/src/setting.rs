//! What an entry of the table says about a setting.

use super::kind::Kind;

/// What every environment variable of ours begins with.
pub(super) const ENVIRONMENT_PREFIX: &str = "HA_DISTRIBUTOR_";

/// One setting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    /// YAML path, with dots. Empty for the flags that are no settings, see `CONTROL`.
    pub(super) path: &'static str,
    /// Flag without its dash; empty where there is none.
    pub(super) flag: &'static str,
    pub(super) kind: Kind,
    /// Parsed as any other text would be.
    pub(super) default: &'static str,
    /// One or more sentences, for `-help` and the reference.
    pub(super) help: &'static str,
    /// Shown by `-help`, not only by `-help-all`.
    pub(super) basic: bool,
    /// Never printed.
    pub(super) secret: bool,
    /// 0 and empty are refused.
    pub(super) nonzero: bool,
    /// Another YAML path for the same, where an earlier Mimir had it.
    pub(super) also: &'static str,
    /// Known, but without effect: another value than the default is named in a warning.
    pub(super) unused: bool,
}

impl Setting {
    pub(super) const fn new(
        path: &'static str,
        flag: &'static str,
        kind: Kind,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            path,
            flag,
            kind,
            default,
            help,
            basic: false,
            secret: false,
            nonzero: false,
            also: "",
            unused: false,
        }
    }

    pub(super) const fn basic(self) -> Self {
        Self {
            basic: true,
            ..self
        }
    }

    pub(super) const fn secret(self) -> Self {
        Self {
            secret: true,
            ..self
        }
    }

    pub(super) const fn nonzero(self) -> Self {
        Self {
            nonzero: true,
            ..self
        }
    }

    pub(super) const fn also(self, path: &'static str) -> Self {
        Self { also: path, ..self }
    }

    pub(super) const fn unused(self) -> Self {
        Self {
            unused: true,
            ..self
        }
    }

    /// `HA_DISTRIBUTOR_SERVER__HTTP_LISTEN_PORT` and so on.
    pub(super) fn environment(&self) -> String {
        environment_name(self.path)
    }

    /// What must hold, to complete "must be …".
    pub(super) fn expected(&self) -> String {
        match self.kind {
            kind if !self.nonzero => kind.expected(),
            Kind::Unsigned => "a whole number from 1".to_string(),
            Kind::Text | Kind::Path => format!("{} that is not empty", self.kind.expected()),
            kind => format!("{}; more than 0", kind.expected()),
        }
    }
}

/// The environment variable of a path.
pub(super) fn environment_name(path: &str) -> String {
    format!(
        "{ENVIRONMENT_PREFIX}{}",
        path.replace('.', "__").to_uppercase()
    )
}
