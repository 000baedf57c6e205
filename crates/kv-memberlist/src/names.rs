//! Names from outside, to be shown on pages and in logs, metrics and terminals.

use kv_core::is_treacherous;

/// Whether a name has no control, invisible or misleading characters.
pub(crate) fn is_showable(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(is_treacherous)
}

/// The name without control, invisible and misleading characters.
pub(crate) fn showable(name: &str) -> String {
    name.chars().filter(|c| !is_treacherous(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_what_they_are() {
        for fine in ["ha-distributor-0", "Zürich 1", "東京", "مثال", "a_b.c/d"] {
            assert!(is_showable(fine), "{fine}");
            assert_eq!(showable(fine), fine);
        }
        for treacherous in [
            '\0', '\n', '\x1b', '\x7f', '\u{85}', '\u{9b}', '\u{61c}', '\u{200b}', '\u{200f}',
            '\u{2028}', '\u{202e}', '\u{2067}', '\u{feff}',
        ] {
            let name = format!("a{treacherous}b");
            assert!(!is_showable(&name), "{treacherous:?}");
            assert_eq!(showable(&name), "ab");
        }
        assert!(!is_showable(""));
    }
}
