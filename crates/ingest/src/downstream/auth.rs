//! How requests to a downstream are authenticated.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use url::Url;
use watched_files::Reload;

use crate::config::DownstreamConfig;

/// Makes the `Authorization` header.
pub(super) struct Authorization {
    /// Its value now; `None` without authentication.
    header: ArcSwapOption<HeaderValue>,
    file: Option<SecretFile>,
}

/// A file with the secret part of the header.
struct SecretFile {
    path: PathBuf,
    /// With HTTP basic authentication; else it is a bearer token.
    username: Option<String>,
}

impl Authorization {
    /// At most one way is configured. Reads the file, if there is one.
    pub(super) fn new(config: &DownstreamConfig) -> Result<Arc<Self>, String> {
        let (header, file) = match (&config.basic_auth, &config.bearer_token) {
            (Some(basic), _) => match &basic.password_file {
                Some(path) => (None, Some((path, Some(basic.username.clone())))),
                None => {
                    let header = basic_header(&basic.username, basic.password.expose())?;
                    (Some(header), None)
                }
            },
            (None, Some(token)) => (Some(bearer_header(token.expose())?), None),
            (None, None) => {
                let file = config.bearer_token_file.as_ref();
                (None, file.map(|path| (path, None)))
            }
        };
        let authorization = Self {
            header: ArcSwapOption::new(header.map(Arc::new)),
            file: file.map(|(path, username)| SecretFile {
                path: path.clone(),
                username,
            }),
        };
        authorization.reload()?;
        Ok(Arc::new(authorization))
    }

    /// The header's value now.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        self.header.load().as_deref().cloned()
    }
}

impl Reload for Authorization {
    fn files(&self) -> Vec<PathBuf> {
        self.file.iter().map(|file| file.path.clone()).collect()
    }

    fn reload(&self) -> Result<(), String> {
        let Some(SecretFile { path, username }) = &self.file else {
            return Ok(());
        };
        let fail = |problem: String| format!("{}: {problem}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        let secret = text.trim();
        if secret.is_empty() {
            return Err(fail("is empty; it must contain the secret".to_owned()));
        }
        let header = match username {
            Some(username) => basic_header(username, secret),
            None => bearer_header(secret),
        };
        self.header.store(Some(Arc::new(header.map_err(fail)?)));
        Ok(())
    }
}

fn basic_header(username: &str, password: &str) -> Result<HeaderValue, String> {
    use base64::Engine as _;
    let pair = format!("{username}:{password}");
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    sensitive(&format!("Basic {encoded}"))
}

/// From user and password of a URL, if it has them.
pub(super) fn of_url(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decoded = |text: &str| String::from_utf8(decode_percent(text)).ok();
    let password = decoded(url.password().unwrap_or_default())?;
    basic_header(&decoded(url.username())?, &password).ok()
}

/// The bytes of a part of a URL.
fn decode_percent(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| first == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

fn bearer_header(token: &str) -> Result<HeaderValue, String> {
    sensitive(&format!("Bearer {token}"))
}

fn sensitive(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text).map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BasicAuth;

    #[test]
    fn a_url_may_have_user_and_password() {
        let of = |url| of_url(&Url::parse(url).unwrap());
        assert_eq!(of("http://mimir/push"), None);
        // me:t@o%x
        assert_eq!(
            of("http://me:t%40o%x@mimir/").unwrap(),
            "Basic bWU6dEBvJXg="
        );
        assert_eq!(of("http://me@mimir/").unwrap(), "Basic bWU6");
    }

    #[test]
    fn secrets_are_read_from_files_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "one\n").unwrap();
        let bearer = DownstreamConfig {
            bearer_token_file: Some(file.clone()),
            ..DownstreamConfig::default()
        };
        let basic = DownstreamConfig {
            basic_auth: Some(BasicAuth {
                username: "me".to_owned(),
                password_file: Some(file.clone()),
                ..BasicAuth::default()
            }),
            ..DownstreamConfig::default()
        };
        let bearer = Authorization::new(&bearer).unwrap();
        let basic = Authorization::new(&basic).unwrap();
        assert_eq!(bearer.header().unwrap(), "Bearer one");
        assert_eq!(basic.header().unwrap(), "Basic bWU6b25l");
        std::fs::write(&file, "two").unwrap();
        bearer.reload().unwrap();
        basic.reload().unwrap();
        assert_eq!(bearer.header().unwrap(), "Bearer two");
        assert_eq!(basic.header().unwrap(), "Basic bWU6dHdv");
        for bad in ["", " \n", "a\nb"] {
            std::fs::write(&file, bad).unwrap();
            let problem = bearer.reload().unwrap_err();
            assert!(problem.starts_with(file.to_str().unwrap()), "{problem}");
            assert_eq!(bearer.header().unwrap(), "Bearer two");
        }
    }
}
