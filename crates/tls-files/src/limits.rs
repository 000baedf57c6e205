//! Which versions and cipher suites of TLS are used, by the names that Go's programs have for them.

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{ALL_CIPHER_SUITES, default_provider};
use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

/// The names of the least versions, as Go's programs have them.
const MIN_VERSIONS: [&str; 4] = [
    "VersionTLS10",
    "VersionTLS11",
    "VersionTLS12",
    "VersionTLS13",
];

static ONLY_TLS13: &[&SupportedProtocolVersion] = &[&TLS13];
static BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// The versions and cipher suites that are used: by default TLS 1.2 and 1.3, and all suites.
#[derive(Debug, Clone, Default)]
pub struct TlsLimits {
    only_tls13: bool,
    /// Those of TLS 1.2; `None` for all.
    suites: Option<Vec<SupportedCipherSuite>>,
}

/// A name that is not known, or not supported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// Of a version.
    #[error("got {0:?}; must be one of {list}", list = MIN_VERSIONS.join(", "))]
    Version(String),
    /// Of a cipher suite.
    #[error("got {name:?}, which is not supported; must be some of {list}", list = suite_names().join(", "))]
    Suite {
        /// The name.
        name: String,
    },
}

impl TlsLimits {
    /// The limits with these names; empty for the defaults. Versions before 1.2 are not supported, so
    /// they allow no more than 1.2 does. Of the cipher suites, separated by commas, only those of TLS
    /// 1.2 are limited, as in Go: those of 1.3 are all used.
    ///
    /// # Errors
    /// The first name that is not known.
    pub fn parse(min_version: &str, cipher_suites: &str) -> Result<Self, LimitsError> {
        Ok(Self {
            only_tls13: only_tls13(min_version)?,
            suites: suites(cipher_suites)?,
        })
    }

    /// The versions.
    pub fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        match self.only_tls13 {
            true => ONLY_TLS13,
            false => BOTH,
        }
    }

    /// What encrypts.
    pub fn provider(&self) -> CryptoProvider {
        let mut provider = default_provider();
        if let Some(suites) = &self.suites {
            provider
                .cipher_suites
                .retain(|suite| suite.tls13().is_some() || suites.contains(suite));
        }
        provider
    }
}

fn only_tls13(name: &str) -> Result<bool, LimitsError> {
    match name {
        "" => Ok(false),
        name if MIN_VERSIONS.contains(&name) => Ok(name == "VersionTLS13"),
        other => Err(LimitsError::Version(other.to_owned())),
    }
}

fn suites(names: &str) -> Result<Option<Vec<SupportedCipherSuite>>, LimitsError> {
    if names.trim().is_empty() {
        return Ok(None);
    }
    let named = names.split(',').map(str::trim).map(|name| {
        let mut all = ALL_CIPHER_SUITES.iter();
        let found = all.find(|suite| suite_name(suite) == name);
        found.copied().ok_or_else(|| LimitsError::Suite {
            name: name.to_owned(),
        })
    });
    named.collect::<Result<Vec<_>, _>>().map(Some)
}

/// The name that Go has for it.
fn suite_name(suite: &SupportedCipherSuite) -> String {
    let name = suite.suite().as_str().unwrap_or_default();
    name.replacen("TLS13_", "TLS_", 1)
}

fn suite_names() -> Vec<String> {
    ALL_CIPHER_SUITES.iter().map(suite_name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_12: &str = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";

    fn names(limits: &TlsLimits) -> Vec<String> {
        let suites = limits.provider().cipher_suites;
        suites.iter().map(suite_name).collect()
    }

    #[test]
    fn nothing_is_limited_by_default() {
        let limits = TlsLimits::parse("", "").unwrap();
        assert_eq!(limits.versions().len(), 2);
        assert_eq!(names(&limits).len(), default_provider().cipher_suites.len());
        let limits = TlsLimits::parse("VersionTLS10", " ").unwrap();
        assert_eq!(limits.versions().len(), 2);
    }

    #[test]
    fn versions_and_suites_are_limited() {
        let limits = TlsLimits::parse("VersionTLS13", "").unwrap();
        assert_eq!(limits.versions(), [&TLS13]);
        let limits = TlsLimits::parse("", OF_12).unwrap();
        let all = names(&limits);
        assert!(all.contains(&OF_12.to_owned()), "{all:?}");
        // Those of TLS 1.3 stay.
        assert!(
            all.contains(&"TLS_AES_128_GCM_SHA256".to_owned()),
            "{all:?}"
        );
        assert_eq!(all.len(), 4, "{all:?}");
    }

    #[test]
    fn unknown_names_are_refused_with_the_known_ones() {
        let error = TlsLimits::parse("1.2", "").unwrap_err().to_string();
        assert!(error.contains("VersionTLS12"), "{error}");
        let weak = format!("{OF_12},TLS_RSA_WITH_AES_128_CBC_SHA");
        let error = TlsLimits::parse("", &weak).unwrap_err().to_string();
        for part in [
            "got \"TLS_RSA_WITH_AES_128_CBC_SHA\"",
            OF_12,
            "TLS_AES_256_GCM_SHA384",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }
}
