//! Names that come from outside, and are shown in pages, logs, metrics and terminals.

/// Whether a name is shown as what it is: whoever reads it sees every character, in their order, and
/// no terminal obeys it.
pub(crate) fn is_showable(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(is_treacherous)
}

/// The name without the characters that are not shown as what they are.
pub(crate) fn showable(name: &str) -> String {
    name.chars().filter(|c| !is_treacherous(*c)).collect()
}

fn is_treacherous(c: char) -> bool {
    // Those of ASCII, and C1, which terminals obey as well.
    c.is_control()
        // Separators of lines and of paragraphs.
        || matches!(c, '\u{2028}' | '\u{2029}')
        // Marks, embeddings, overrides and isolates of the writing direction.
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        // Without width: two names that look alike.
        || matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
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
