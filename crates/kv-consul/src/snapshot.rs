//! What a watch knows: finds the changes in Consul's answers, which always contain everything.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kv_core::WatchEvent;
use serde::Deserialize;

/// One entry of an answer, borrowed from it, because most entries are unchanged and discarded at
/// once.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Entry<'a> {
    #[serde(borrow)]
    pub(crate) key: Cow<'a, str>,
    pub(crate) modify_index: u64,
    /// Base64; `None` for an empty value.
    #[serde(borrow)]
    value: Option<Cow<'a, str>>,
}

/// Why an answer is not valid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("not the expected JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("a value that is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
}

/// The entries of an answer; an empty body has none.
pub(crate) fn entries(body: &[u8]) -> Result<Vec<Entry<'_>>, AnswerError> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    Ok(serde_json::from_slice(body)?)
}

impl Entry<'_> {
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, AnswerError> {
        Ok(match &self.value {
            Some(text) => BASE64_STANDARD.decode(text.as_bytes())?,
            None => Vec::new(),
        })
    }
}

/// The keys that a watcher knows, and how it recognizes their values.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    known: HashMap<Box<str>, Known>,
    /// Number of the last answer.
    answer: u64,
    hasher: RandomState,
}

#[derive(Debug)]
struct Known {
    modify_index: u64,
    /// Hash of the value: after a restart without data, the same index can occur again with another
    /// value.
    hash: u64,
    answer: u64,
}

impl Snapshot {
    /// Applies an answer and returns the changes. Unchanged entries are not decoded. After an
    /// error, the next answer has the changes again.
    pub(crate) fn take(
        &mut self,
        body: &[u8],
        news: &mut impl Extend<WatchEvent<Vec<u8>>>,
    ) -> Result<(), AnswerError> {
        let entries = entries(body)?;
        let found = entries.len();
        self.answer += 1;
        let answer = self.answer;
        for entry in entries {
            let hash = self.hasher.hash_one(entry.value.as_deref());
            if let Some(known) = self.known.get_mut(&*entry.key) {
                known.answer = answer;
                if known.modify_index == entry.modify_index && known.hash == hash {
                    continue;
                }
            }
            let bytes = entry.bytes()?;
            let known = Known {
                modify_index: entry.modify_index,
                hash,
                answer,
            };
            self.known.insert(entry.key.as_ref().into(), known);
            news.extend([WatchEvent::Put(entry.key.into_owned(), bytes)]);
        }
        if self.known.len() > found {
            let gone = self.known.extract_if(|_, known| known.answer != answer);
            news.extend(gone.map(|(key, _)| WatchEvent::Deleted(key.into_string())));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(entries: &[(&str, u64, &str)]) -> Vec<u8> {
        let entries: Vec<_> = entries
            .iter()
            .map(|(key, index, value)| {
                serde_json::json!({
                    "LockIndex": 0, "Key": key, "Flags": 0, "CreateIndex": 1,
                    "Value": BASE64_STANDARD.encode(value), "ModifyIndex": index,
                })
            })
            .collect();
        serde_json::to_vec(&entries).unwrap()
    }

    fn news(snapshot: &mut Snapshot, entries: &[(&str, u64, &str)]) -> Vec<String> {
        let (news, outcome) = take(snapshot, &answer(entries));
        outcome.unwrap();
        news
    }

    fn take(snapshot: &mut Snapshot, body: &[u8]) -> (Vec<String>, Result<(), AnswerError>) {
        let mut events = Vec::new();
        let outcome = snapshot.take(body, &mut events);
        let mut news: Vec<String> = events
            .into_iter()
            .map(|event| match event {
                WatchEvent::Put(key, value) => {
                    format!("{key}={}", String::from_utf8(value).unwrap())
                }
                WatchEvent::Deleted(key) => format!("-{key}"),
                other => format!("{other:?}"),
            })
            .collect();
        news.sort();
        (news, outcome)
    }

    #[test]
    fn only_what_changed_is_news() {
        let mut snapshot = Snapshot::default();
        let first = [("a", 3, "1"), ("b", 4, "1"), ("c\"ü", 5, "1")];
        assert_eq!(news(&mut snapshot, &first), ["a=1", "b=1", "c\"ü=1"]);
        assert_eq!(news(&mut snapshot, &first), [""; 0]);
        let second = [("a", 3, "1"), ("b", 7, "2"), ("d", 8, "1")];
        assert_eq!(news(&mut snapshot, &second), ["-c\"ü", "b=2", "d=1"]);
        assert_eq!(news(&mut snapshot, &[]), ["-a", "-b", "-d"]);
        assert!(take(&mut snapshot, b"").0.is_empty());
    }

    #[test]
    fn indexes_that_begin_anew_hide_nothing() {
        let mut snapshot = Snapshot::default();
        news(&mut snapshot, &[("a", 30, "1"), ("b", 31, "1")]);
        // Lower indexes, and the same index with another value.
        let after = [("a", 12, "2"), ("b", 31, "2")];
        assert_eq!(news(&mut snapshot, &after), ["a=2", "b=2"]);
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_an_error_and_loses_nothing() {
        let mut snapshot = Snapshot::default();
        assert!(take(&mut snapshot, b"<html>").1.is_err());
        let broken = br#"[{"Key":"a","ModifyIndex":1,"Value":"MQ=="},
                          {"Key":"b","ModifyIndex":1,"Value":"!"}]"#;
        let (before, outcome) = take(&mut snapshot, broken);
        assert!(outcome.is_err());
        assert_eq!(before, ["a=1"]);
        let whole = [("a", 1, "1"), ("b", 1, "1")];
        assert_eq!(news(&mut snapshot, &whole), ["b=1"]);
    }
}
