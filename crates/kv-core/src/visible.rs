//! Text from outside, to be shown to people: in pages, logs and terminals.

use std::borrow::Cow;
use std::fmt::Write;

/// `text` with control, invisible and misleading characters replaced by their numbers (`\u{202e}`),
/// so that a reader sees every character in order, and terminals do not interpret any.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_treacherous) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_treacherous(c) {
            // Writing to a string cannot fail.
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Whether a character is invisible, changes the order of others, or controls a terminal.
pub fn is_treacherous(c: char) -> bool {
    // Control characters of ASCII, and C1, which terminals interpret as well.
    c.is_control()
        // Separators of lines and of paragraphs.
        || matches!(c, '\u{2028}' | '\u{2029}')
        // Marks, embeddings, overrides and isolates of the writing direction.
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        // Without width: they make different names look the same.
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_visible_stays_and_what_is_not_becomes_so() {
        for fine in ["", "ha-distributor-0", "Zürich 1", "東京", "مثال", "a\\b"] {
            assert_eq!(visible(fine), fine);
        }
        for (text, shown) in [
            ("a\0b", "a\\u{0}b"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("x\u{9b}31m", "x\\u{9b}31m"),
            ("abc\u{202e}fed", "abc\\u{202e}fed"),
            ("a\u{200b}b\r\n", "a\\u{200b}b\\u{d}\\u{a}"),
            ("\u{2028}\u{61c}\u{7f}", "\\u{2028}\\u{61c}\\u{7f}"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }
}
