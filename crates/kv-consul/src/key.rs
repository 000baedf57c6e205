//! Encoding of keys in URLs.

use std::fmt::Write as _;

/// The rule by which an agent would rewrite or refuse this key or prefix.
///
/// An agent cleans the decoded path of a request: it answers keys with empty, `.` or `..` segments
/// with a redirect to another key. It refuses characters that Go's `unicode.IsPrint` considers
/// unprintable. These depend on the agent's Unicode version, so only characters that were never
/// printable are refused here, and the agent's answer decides about the rest.
pub fn refusal(key: &str) -> Option<&'static str> {
    if key.chars().any(char::is_control) {
        return Some(NOT_PRINTABLE);
    }
    let mut segments = key.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "" if !last => return Some("Consul cannot keep an empty path segment ('//')"),
            "." | ".." => return Some("Consul cannot keep '.' or '..' as a path segment"),
            _ => {}
        }
    }
    None
}

/// Why an agent answers 400 for a key.
pub(crate) const NOT_PRINTABLE: &str = "Consul cannot keep unprintable characters";

/// The key as one path segment: every byte outside RFC 3986's unreserved set is encoded, `/`
/// included, so that no server on the way can interpret it as a separator.
pub(crate) fn encode(key: &str) -> String {
    let mut encoded = String::with_capacity(key.len() + key.len() / 2);
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_would_rewrite_is_refused() {
        for key in [
            "a//b", "/a", "a/../b", "..", "a/.", "./a", "a\nb", "a\0", "a/../",
        ] {
            assert!(refusal(key).is_some(), "{key:?}");
        }
        for key in [
            "",
            "a",
            "a/",
            "a/b c",
            "...",
            "a/..b",
            "ü/%2e%2e",
            "a\\..\\b",
        ] {
            assert_eq!(refusal(key), None, "{key:?}");
        }
    }

    #[test]
    fn a_key_is_one_path_segment() {
        assert_eq!(
            encode("ha-tracker/t1/a b%ü"),
            "ha-tracker%2Ft1%2Fa%20b%25%C3%BC"
        );
    }
}
