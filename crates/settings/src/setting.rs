//! The description of a setting.

use crate::kind::{Kind, Value};

/// One setting: a row of its crate, or of the application's table once its section is joined.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// YAML path below the section, with dots.
    pub path: &'static str,
    /// Flag without its dash and the section's prefix; empty where there is none.
    pub flag: &'static str,
    /// Type of the value.
    pub kind: Kind,
    /// Parsed like any other value.
    pub default: &'static str,
    /// One or more sentences.
    pub help: &'static str,
    /// Shown by `-help`; `-help-all` shows all.
    pub basic: bool,
    /// Never printed.
    pub secret: bool,
    /// 0 and empty are refused.
    pub nonzero: bool,
    /// Another YAML path for the same setting, in full; empty if there is none.
    pub also: &'static str,
    /// Empty text stands for the default.
    pub blank: bool,
    /// Known, but without effect: another value than the default deserves a warning.
    pub unused: bool,
}

impl Setting {
    /// A row without attributes.
    pub const fn new(
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
            blank: false,
            unused: false,
        }
    }

    /// Marks it as basic: shown by `-help`.
    #[must_use]
    pub const fn basic(self) -> Self {
        Self {
            basic: true,
            ..self
        }
    }

    /// Marks it as never printed.
    #[must_use]
    pub const fn secret(self) -> Self {
        Self {
            secret: true,
            ..self
        }
    }

    /// Refuses 0 and empty.
    #[must_use]
    pub const fn nonzero(self) -> Self {
        Self {
            nonzero: true,
            ..self
        }
    }

    /// Adds another YAML path, in full.
    #[must_use]
    pub const fn also(self, path: &'static str) -> Self {
        Self { also: path, ..self }
    }

    /// Takes empty text for the default, as Mimir's dumps have it.
    #[must_use]
    pub const fn blank(self) -> Self {
        Self {
            blank: true,
            ..self
        }
    }

    /// Marks it as without effect.
    #[must_use]
    pub const fn unused(self) -> Self {
        Self {
            unused: true,
            ..self
        }
    }

    /// The value of `text`; `None` if it is not of the kind, or is 0 or empty and that is refused.
    pub fn parse(&self, text: &str) -> Option<Value> {
        let text = match text.trim() {
            "" if self.blank => self.default,
            _ => text,
        };
        let value = self.kind.parse(text)?;
        (!self.nonzero || !value.is_zero()).then_some(value)
    }

    /// The requirement, to complete "must be …".
    pub fn expected(&self) -> String {
        match self.kind {
            kind if !self.nonzero => kind.expected(),
            Kind::Unsigned => "a whole number from 1".to_owned(),
            Kind::Text | Kind::Path => format!("{} that is not empty", self.kind.expected()),
            kind => format!("{}; more than 0", kind.expected()),
        }
    }
}
