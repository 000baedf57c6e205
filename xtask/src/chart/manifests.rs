//! What is read out of rendered manifests.

/// Where two texts differ first, for a person.
pub(super) fn first_difference(expected: &str, found: &str) -> Option<String> {
    if expected == found {
        return None;
    }
    let mut lines = expected.lines().zip(found.lines()).enumerate();
    Some(match lines.find(|(_, (a, b))| a != b) {
        Some((index, (a, b))) => format!("line {}: `{a}`, now `{b}`", index + 1),
        None => "one of them is longer".to_owned(),
    })
}

/// The text of a block scalar (`key: |`) in manifests.
pub(super) fn block(manifests: &str, key: &str) -> Option<String> {
    let mut lines = manifests.lines();
    let head = format!("{key}: |");
    let line = lines.find(|line| line.trim_start() == head)?;
    let indent = line.len() - line.trim_start().len() + 2;
    let body = lines
        .take_while(|line| line.trim().is_empty() || line.len() - line.trim_start().len() >= indent)
        .map(|line| line.get(indent..).unwrap_or_default());
    Some(body.fold(String::new(), |text, line| text + line + "\n"))
}

/// Without what is copied from elsewhere, and changes there: dashboards, and the groups of rules.
pub(super) fn without_copies(manifests: &str) -> String {
    let mut text = String::new();
    // The indentation of what begins a copy, while in one.
    let mut copy = None;
    for line in manifests.lines() {
        let indent = line.len() - line.trim_start().len();
        if copy.is_some_and(|begin| indent > begin || line.is_empty()) {
            continue;
        }
        text.push_str(line);
        let begins = line.ends_with(".json: |") || line == "  groups:";
        copy = begins.then_some(indent);
        text.push_str(if begins { " # …\n" } else { "\n" });
    }
    text
}

/// The value of the first line `key: value`, however far it is indented.
pub(super) fn scalar<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.trim_start().strip_prefix(key)?.strip_prefix(": ");
    let value = text.lines().find_map(value)?;
    Some(value.trim().trim_matches(['"', '\'']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_ends_where_its_indentation_does() {
        let manifests = "data:\n  other: x\n  a.yaml: |\n    one:\n      two: 2\n\n    three: 3\n---\nkind: B\n";
        assert_eq!(
            block(manifests, "a.yaml").as_deref(),
            Some("one:\n  two: 2\n\nthree: 3\n")
        );
        assert_eq!(block(manifests, "b.yaml"), None);
    }

    #[test]
    fn copies_are_left_out() {
        let manifests = "spec:\n  groups:\n    - a\n\n    - b\n---\ndata:\n  x.json: |\n    {}\n";
        assert_eq!(
            without_copies(manifests),
            "spec:\n  groups: # …\n---\ndata:\n  x.json: | # …\n"
        );
    }

    #[test]
    fn the_first_difference_is_named() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(
            first_difference("a\nb\n", "a\nc\n").as_deref(),
            Some("line 2: `b`, now `c`")
        );
        assert_eq!(
            first_difference("a\n", "a\nb\n").as_deref(),
            Some("one of them is longer")
        );
    }

    #[test]
    fn a_scalar_is_found_by_its_whole_key() {
        let text = "a:\n  leave_timeout_x: 1s\n  leave_timeout: \"20s\"\n";
        assert_eq!(scalar(text, "leave_timeout"), Some("20s"));
        assert_eq!(scalar(text, "timeout"), None);
    }
}
