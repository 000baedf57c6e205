//! Values that must not be shown: their text is reachable only by [`Secret::expose`].

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// Shown instead of a secret.
pub const REDACTED: &str = "********";

/// A token, password or key. `Debug`, `Display` and serialisation give [`REDACTED`].
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { REDACTED })
    }
}

/// An http or https URL; a user and password in it are shown as [`REDACTED`].
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Wraps `url`, which the caller has checked.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The URL as it was configured, for the client that connects to it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact_userinfo(&self.0))
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Replaces `user:password@` in the authority of `url`, and the query, which may have a token. Also
/// works for invalid URLs, since a mistyped URL is quoted in an error.
pub fn redact_userinfo(url: &str) -> String {
    let authority = url.find("://").map_or(0, |at| at + "://".len());
    // A password may contain an unescaped `/`, `?`, `#` or `@`, so everything up to the last `@` is
    // removed; at worst a path with an `@` is shortened.
    let (head, tail) = match url.rfind('@').filter(|at| *at >= authority) {
        Some(at) => (format!("{}{REDACTED}", &url[..authority]), &url[at..]),
        None => (String::new(), url),
    };
    match tail.split_once('?') {
        Some((path, query)) if !query.is_empty() => format!("{head}{path}?{REDACTED}"),
        _ => head + tail,
    }
}
