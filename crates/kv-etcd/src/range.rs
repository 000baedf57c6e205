//! Ranges of keys in etcd's form.

use kv_core::WatchScope;

/// The keys from `start` to before `end`; no `end` is the one key `start`, and an `end` of one NUL
/// is no bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: Vec<u8>,
    pub(crate) end: Vec<u8>,
}

impl Range {
    pub(crate) fn of(scope: &WatchScope) -> Self {
        match scope {
            WatchScope::Key(key) => Self {
                start: key.clone().into_bytes(),
                end: Vec::new(),
            },
            WatchScope::Prefix(prefix) => Self::prefix(prefix),
        }
    }

    pub(crate) fn prefix(prefix: &str) -> Self {
        let start = prefix.as_bytes().to_vec();
        let mut end = start.clone();
        match end.last_mut() {
            // UTF-8 has no byte beyond 0xf4, so this cannot overflow.
            Some(last) => *last = last.saturating_add(1),
            // An empty key is not allowed, so this range has all keys.
            None => {
                return Self {
                    start: vec![0],
                    end: vec![0],
                };
            }
        }
        Self { start, end }
    }

    /// The part of the range after `key`.
    pub(crate) fn after(&self, key: &[u8]) -> Self {
        Self {
            start: [key, &[0]].concat(),
            end: self.end.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_covers_exactly_what_begins_with_it() {
        let covers = |range: &Range, key: &str| {
            let key = key.as_bytes();
            key >= range.start.as_slice() && (range.end == [0] || key < range.end.as_slice())
        };
        for prefix in ["", "a", "a/", "a\u{7f}", "ü", "\u{10ffff}"] {
            let range = Range::prefix(prefix);
            for key in ["a", "a/", "a0", "a/b", "b", "ü", "ý", "\u{10ffff}x", "\0"] {
                let wanted = key.starts_with(prefix);
                assert_eq!(covers(&range, key), wanted, "{prefix:?} and {key:?}");
            }
        }
        assert_eq!(Range::prefix("a").after(b"ab").start, b"ab\0");
    }
}
