//! The rules of the crates that are configured, run on their sections.

use settings::{Context, Mistake, Problem, Report};

use super::errors::{Findings, Origin};
use super::schema::path_in_kvstore;

/// Where the value of a path was set, as [`Origin`] displays it.
pub(crate) type OriginOf<'a> = &'a dyn Fn(&str) -> String;

/// A section whose rules are checked.
pub(crate) struct Section<'a> {
    /// Its path.
    pub(crate) path: &'a str,
    /// The setting that makes what is missing in it necessary, and that chose it.
    pub(crate) needed_by: &'a str,
}

impl Section<'_> {
    /// Runs `rules`; what they report goes to `findings` under the paths of this section.
    pub(crate) fn check(
        &self,
        origin_of: OriginOf<'_>,
        findings: &mut Findings,
        rules: impl FnOnce(&mut Report<'_>),
    ) {
        let place = Place {
            section: self.path,
            origin_of,
            findings,
        };
        let mut report = Report::new(&place);
        rules(&mut report);
        let (mistakes, warnings) = report.into_parts();
        for mistake in mistakes {
            let path = joined(self.path, &mistake.setting);
            let origin = self.origin(&mistake, origin_of);
            findings.error(&origin, &path, mistake.problem.to_string());
        }
        findings.warnings.extend(warnings);
    }

    /// A value that is missing is the mistake of what makes it necessary.
    fn origin(&self, mistake: &Mistake, origin_of: OriginOf<'_>) -> String {
        match mistake.problem {
            Problem::Bad(_) => {
                let concerns = mistake.concerns.iter();
                let paths: Vec<String> = concerns.map(|name| joined(self.path, name)).collect();
                set_one(&paths, origin_of)
            }
            _ => origin_of(self.needed_by),
        }
    }
}

/// Where the section stands and what is known of it.
struct Place<'a> {
    section: &'a str,
    origin_of: OriginOf<'a>,
    findings: &'a Findings,
}

impl Context for Place<'_> {
    fn path(&self, setting: &str) -> String {
        joined(self.section, setting)
    }

    fn origin(&self, setting: &str) -> String {
        (self.origin_of)(&self.path(setting))
    }

    /// At either place, if the section has two.
    fn is_refused(&self, setting: &str) -> bool {
        let path = self.path(setting);
        let refused =
            |path: &str| self.findings.concerns(path) || self.findings.concerns_item(path);
        refused(&path) || path_in_kvstore(&path).is_some_and(|path| refused(&path))
    }
}

fn joined(section: &str, name: &str) -> String {
    if name.is_empty() {
        section.to_owned()
    } else {
        format!("{section}.{name}")
    }
}

/// Where the first of `paths` that is not left at its default was set: that is what to change.
pub(crate) fn set_one(paths: &[impl AsRef<str>], origin_of: OriginOf<'_>) -> String {
    let default = Origin::Default.to_string();
    let mut origins = paths.iter().map(|path| origin_of(path.as_ref()));
    origins.find(|origin| *origin != default).unwrap_or(default)
}
