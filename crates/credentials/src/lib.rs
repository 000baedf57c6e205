//! Who may ask: users with passwords (HTTP basic authentication) and bearer tokens, and the tenants
//! that each may send for.
//!
//! It knows the `Authorization` header, not the paths that need it, nor where the list comes from.
//! Secrets are kept as SHA-256 digests and compared in constant time, each request with all of them: how
//! long an answer takes says nothing about a secret.

mod config;

use std::path::{Path, PathBuf};

use base64::Engine as _;
use http::HeaderValue;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

pub use config::CredentialConfig;

/// A list that can be asked.
#[derive(Debug, Default)]
pub struct Credentials {
    all: Vec<Known>,
    files: Vec<PathBuf>,
}

/// One that was recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What the log calls it: never the secret.
    pub name: String,
    /// Those it may send for; empty for all.
    pub tenants: Vec<String>,
}

#[derive(Debug)]
struct Known {
    digest: [u8; 32],
    identity: Identity,
}

/// Why a request is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It has no `Authorization` header.
    #[error("credentials are needed: the header Authorization is missing")]
    Missing,
    /// The header is neither `Basic` nor `Bearer`, or not well-formed.
    #[error("the header Authorization must be Basic, or Bearer with a token")]
    Malformed,
    /// No entry has this name and password, or this token.
    #[error("the credentials are not known here: the name, password or token is wrong")]
    Unknown,
}

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", file.display())]
pub struct SecretFileError {
    /// The file with the password or token.
    pub file: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// The two kinds. A user's name cannot be mistaken for a token.
#[derive(Clone, Copy)]
enum Scheme {
    Basic = 0,
    Bearer = 1,
}

impl Credentials {
    /// Reads the files with secrets; relative paths begin at `folder`. Each item has passed
    /// [`CredentialConfig::check`].
    ///
    /// # Errors
    /// A file that cannot be read or is empty.
    pub fn new(configs: &[CredentialConfig], folder: &Path) -> Result<Self, SecretFileError> {
        let mut credentials = Self::default();
        for config in configs {
            let read = |file: &PathBuf| read_secret(&folder.join(file));
            let token_file = config.bearer_token_file.as_ref();
            let password_file = config.password_file.as_ref();
            let files = [token_file, password_file].into_iter().flatten();
            credentials
                .files
                .extend(files.map(|file| folder.join(file)));
            let digest = match (&config.bearer_token, token_file) {
                (Some(token), _) => digest(Scheme::Bearer, token.expose().as_bytes()),
                (None, Some(file)) => digest(Scheme::Bearer, read(file)?.as_bytes()),
                (None, None) => {
                    let password = match (&config.password, password_file) {
                        (Some(password), _) => password.expose().to_owned(),
                        (None, Some(file)) => read(file)?,
                        (None, None) => String::new(),
                    };
                    let pair = format!("{}:{password}", config.username);
                    digest(Scheme::Basic, pair.as_bytes())
                }
            };
            credentials.all.push(Known {
                digest,
                identity: Identity {
                    name: config.label().to_owned(),
                    tenants: config.tenants.clone(),
                },
            });
        }
        Ok(credentials)
    }

    /// The files with secrets.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Whose request this is, by its `Authorization` header.
    ///
    /// # Errors
    /// Why it is not allowed.
    pub fn identify(&self, authorization: Option<&HeaderValue>) -> Result<&Identity, Denied> {
        let presented = presented(authorization.ok_or(Denied::Missing)?)?;
        let mut found = None;
        // All of them, so that the time does not tell which one it was.
        for known in &self.all {
            if bool::from(known.digest.ct_eq(&presented)) {
                found = Some(&known.identity);
            }
        }
        found.ok_or(Denied::Unknown)
    }
}

impl Identity {
    /// Whether it may send samples of this tenant.
    pub fn may_send_for(&self, tenant: &str) -> bool {
        self.tenants.is_empty() || self.tenants.iter().any(|own| own == tenant)
    }

    /// Its tenant, if it is bound to a single one.
    pub fn only_tenant(&self) -> Option<&str> {
        match self.tenants.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }
}

fn read_secret(file: &Path) -> Result<String, SecretFileError> {
    let fail = |problem: String| SecretFileError {
        file: file.to_owned(),
        problem,
    };
    let text = std::fs::read_to_string(file).map_err(|error| fail(error.to_string()))?;
    match text.trim() {
        "" => Err(fail("is empty; it must contain the secret".to_owned())),
        secret => Ok(secret.to_owned()),
    }
}

fn presented(authorization: &HeaderValue) -> Result<[u8; 32], Denied> {
    let text = authorization.to_str().map_err(|_| Denied::Malformed)?;
    let (scheme, secret) = text.split_once(' ').ok_or(Denied::Malformed)?;
    let secret = secret.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(digest(Scheme::Bearer, secret.as_bytes()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Denied::Malformed);
    }
    let pair = base64::engine::general_purpose::STANDARD.decode(secret);
    Ok(digest(Scheme::Basic, &pair.map_err(|_| Denied::Malformed)?))
}

fn digest(scheme: Scheme, secret: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update([scheme as u8])
        .chain_update(secret)
        .finalize()
        .into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
