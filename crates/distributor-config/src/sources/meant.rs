//! Suggestions for unknown names.

use settings::Setting;

use crate::schema::{MEMBERLIST_IN_KVSTORE, all_settings};

/// What an unknown key was probably meant to be.
pub(crate) enum Meant {
    /// A name beside it.
    Sibling(&'static str),
    /// The name, but in this place.
    Elsewhere(&'static str),
    /// None of these.
    NoneOf(Vec<&'static str>),
}

impl Meant {
    /// What `key`, which is unknown in the section `prefix` (empty for the top) of `table`, was meant
    /// to be.
    pub(crate) fn of(key: &str, table: &'static [Setting], prefix: &str) -> Self {
        let siblings = siblings(table, prefix);
        if let Some(name) = nearest(key, siblings.iter().copied()) {
            return Self::Sibling(name);
        }
        let elsewhere = table
            .iter()
            .chain(all_settings())
            .find(|setting| setting.path.rsplit('.').next() == Some(key));
        match elsewhere {
            Some(setting) => Self::Elsewhere(setting.path),
            None => Self::NoneOf(siblings),
        }
    }

    /// The right name, as it stands in a file.
    pub(crate) fn name(&self) -> Option<&'static str> {
        match self {
            Self::Sibling(name) | Self::Elsewhere(name) => Some(name),
            Self::NoneOf(_) => None,
        }
    }

    /// What is wrong with the key, and what to do.
    pub(crate) fn problem(&self) -> String {
        match self {
            Self::Sibling(name) | Self::Elsewhere(name) => {
                format!("unknown key; did you mean {name}?")
            }
            Self::NoneOf(known) => format!("unknown key; known here: {}", known.join(", ")),
        }
    }

    /// Whether that is all but certain, so that another Mimir will hardly have the key.
    /// `is_common`: several sections of Mimir's have it.
    pub(crate) fn is_typing_error(&self, key: &str, is_common: bool) -> bool {
        match self {
            Self::Sibling(name) => strsim::damerau_levenshtein(key, name) <= MISTYPED,
            // Another section may get `enabled` or `tls_ca_path` as well.
            Self::Elsewhere(_) => key.contains('_') && !is_common,
            Self::NoneOf(_) => false,
        }
    }
}

/// Letters by which a name may differ from a setting to be taken for it. A test shows that no setting
/// of Mimir's is so near to one of ours.
pub(crate) const MISTYPED: usize = 2;

/// The names that the table has in the section `prefix`.
fn siblings(table: &'static [Setting], prefix: &str) -> Vec<&'static str> {
    let mut siblings: Vec<&str> = Vec::new();
    let paths = table.iter().map(|setting| setting.path);
    // Tables of single records and of the runtime configuration have no such section.
    let also = (!prefix.is_empty()).then_some(MEMBERLIST_IN_KVSTORE);
    for path in paths.chain(also) {
        let Some(inside) = path.strip_prefix(prefix) else {
            continue;
        };
        let inside = if prefix.is_empty() {
            Some(inside)
        } else {
            inside.strip_prefix('.')
        };
        let Some(name) = inside.and_then(|inside| inside.split('.').next()) else {
            continue;
        };
        if !siblings.contains(&name) {
            siblings.push(name);
        }
    }
    siblings
}

/// The candidate that `name` was probably meant to be.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
