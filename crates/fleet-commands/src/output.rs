//! Text for people: colours on a terminal only, wrapped lines.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use kv_core::visible;

/// Columns where text is wrapped.
const WIDTH: usize = 100;

/// Whether to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Coloured,
}

impl Style {
    /// Colours if standard output is a terminal, unless `NO_COLOR` is set.
    pub(crate) fn of_output() -> Self {
        match io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
            true => Self::Coloured,
            false => Self::Plain,
        }
    }

    pub(crate) fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }
}

/// Text from outside, without what would confuse a terminal.
pub(crate) fn clean(text: &str) -> String {
    visible(text).into_owned()
}

/// Appends `text`, wrapped, with `indent` blanks before each line but the first.
pub(crate) fn wrapped(out: &mut String, text: &str, indent: usize) {
    let mut column = indent;
    for (index, word) in text.split_whitespace().enumerate() {
        let length = word.chars().count();
        if index > 0 && column + 1 + length > WIDTH {
            let _ = write!(out, "\n{:indent$}", "");
            column = indent;
        } else if index > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_wrapped_between_words() {
        let mut out = String::from("> ");
        wrapped(&mut out, &"word ".repeat(25), 2);
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].len() <= WIDTH && lines[1].starts_with("  word"));
    }
}
