//! Requests to Consul's KV API.

use reqwest::Method;

/// A request about a key, or about all keys that begin with it.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// As it is; encoded when it is sent.
    pub(crate) key: String,
    /// Parts of the query, encoded.
    pub(crate) query: Vec<String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    fn new(method: Method, key: &str, query: impl IntoIterator<Item = String>) -> Self {
        Self {
            method,
            key: key.to_owned(),
            query: query.into_iter().collect(),
            body: Vec::new(),
        }
    }

    /// The entry of a key.
    pub(crate) fn read(key: &str) -> Self {
        Self::new(Method::GET, key, [])
    }

    /// The entries of all keys that begin with `prefix`.
    pub(crate) fn read_below(prefix: &str) -> Self {
        Self::new(Method::GET, prefix, ["recurse=true".to_owned()])
    }

    /// All keys that begin with `prefix`.
    pub(crate) fn list(prefix: &str) -> Self {
        Self::new(Method::GET, prefix, ["keys=true".to_owned()])
    }

    /// Stores a value if the key's `ModifyIndex` is `index`; 0 is that of an absent key.
    pub(crate) fn put(key: &str, value: Vec<u8>, index: u64) -> Self {
        Self {
            body: value,
            ..Self::new(Method::PUT, key, [format!("cas={index}")])
        }
    }

    /// Removes a key, if its `ModifyIndex` is `index`; `None` removes any.
    pub(crate) fn delete(key: &str, index: Option<u64>) -> Self {
        let condition = index.map(|index| format!("cas={index}"));
        Self::new(Method::DELETE, key, condition)
    }
}
