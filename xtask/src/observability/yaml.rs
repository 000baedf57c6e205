//! The little YAML that the generated files need.

/// A string in quotes. JSON's quoting is YAML's, too.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// `key: |-` with the text below it; `key` comes with its indentation.
pub(super) fn block(key: &str, text: &str) -> String {
    let depth = key.len() - key.trim_start().len() + 2;
    let mut block = format!("{key}: |-\n");
    for line in unindented(text) {
        if !line.is_empty() {
            block += &" ".repeat(depth);
        }
        block += line;
        block.push('\n');
    }
    block
}

/// The lines of a text of the source, without the indentation that all of them share.
pub(super) fn unindented(text: &str) -> Vec<&str> {
    let text = text.trim_matches('\n').trim_end();
    let depth = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.len() - line.trim_start().len())
        .min()
        .unwrap_or(0);
    text.lines()
        .map(|line| line.get(depth..).unwrap_or_default())
        .collect()
}
