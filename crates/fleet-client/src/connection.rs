//! The flags that say which distributors to ask, and how.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::{ClientConfig, RootCertStore};
use tls_files::ClientFiles;

use crate::arguments::Arguments;
use crate::resolve::{Target, address, resolved};

/// The part of a command's usage about these flags.
pub const FLAGS: &str = "  \
  --targets             every distributor of the fleet: host:port, http://host:port or
                        https://host:port, with a path before the pages' own if there is one;
                        dns+host:port and dns+https://host:port stand for all addresses of a name
                        (of IPv4, if it has any)
  --username            user, if the pages need credentials, with --password-file
  --password-file       file with the password
  --bearer-token-file   file with a bearer token, instead of user and password
  --header              'Name: value', sent with every request; may be repeated
  --ca-file             trust these certificate authorities, a PEM file, instead of the system's
  --insecure            accept any certificate
  --cert-file           show this client certificate, a PEM file, to servers that ask for one
  --key-file            its private key, a PEM file
";

/// Which distributors to ask, and how.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Connection {
    targets: Vec<String>,
    ca_file: Option<String>,
    cert_file: Option<String>,
    key_file: Option<String>,
    insecure: bool,
    username: Option<String>,
    password_file: Option<String>,
    bearer_token_file: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Connection {
    /// Takes a flag of [`FLAGS`] with its value; whether it is one.
    ///
    /// # Errors
    /// Its value is missing or wrong.
    pub fn take(
        &mut self,
        flag: &str,
        arguments: &mut Arguments<impl Iterator<Item = OsString>>,
    ) -> Result<bool, String> {
        match flag {
            "targets" => {
                let value = arguments.value()?;
                for target in value.split(',').filter(|target| !target.is_empty()) {
                    self.targets.push(address(target)?);
                }
            }
            "ca-file" => self.ca_file = Some(arguments.value()?),
            "cert-file" => self.cert_file = Some(arguments.value()?),
            "key-file" => self.key_file = Some(arguments.value()?),
            "insecure" => self.insecure = true,
            "username" => self.username = Some(arguments.value()?),
            "password-file" => self.password_file = Some(arguments.value()?),
            "bearer-token-file" => self.bearer_token_file = Some(arguments.value()?),
            "header" => self.headers.push(header(&arguments.value()?)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What is wrong with the flags together.
    ///
    /// # Errors
    /// A flag is missing, or two exclude each other.
    pub fn check(&self) -> Result<(), String> {
        if self.targets.is_empty() {
            return Err("--targets is missing: name every distributor of the fleet".to_owned());
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err("--cert-file and --key-file must be set together".to_owned());
        }
        if self.username.is_some() != self.password_file.is_some() {
            return Err("--username and --password-file must be set together".to_owned());
        }
        if self.username.is_some() && self.bearer_token_file.is_some() {
            return Err("--username and --bearer-token-file exclude each other".to_owned());
        }
        Ok(())
    }

    /// The user's name, if there is one.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// The targets as they were given.
    pub fn targets(&self) -> &[String] {
        &self.targets
    }

    /// The current addresses of all targets.
    pub async fn resolved(&self) -> Vec<Target> {
        resolved(&self.targets).await
    }

    /// A client that sends the credentials with every request. Reads files; without a time limit of
    /// its own.
    ///
    /// # Errors
    /// What cannot be read or used.
    pub fn client(&self) -> Result<reqwest::Client, String> {
        let client = scrape_client::client_with_headers(self.tls()?, self.headers()?);
        client.map_err(|error| error.to_string())
    }

    /// The system's CA certificates are read only if a target needs them.
    fn tls(&self) -> Result<ClientConfig, String> {
        if !self.targets.iter().any(|target| target.contains("https:")) {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?;
            let no_one = builder.with_root_certificates(RootCertStore::empty());
            return Ok(no_one.with_no_client_auth());
        }
        let files = ClientFiles {
            ca_file: self.ca_file.as_deref().map(Path::new),
            cert_file: self.cert_file.as_deref().map(Path::new),
            key_file: self.key_file.as_deref().map(Path::new),
            server_name: None,
            accepts_any: self.insecure,
        };
        tls_files::client_config(&files).map_err(|error| error.to_string())
    }

    fn headers(&self) -> Result<HeaderMap, String> {
        let mut headers: HeaderMap = self.headers.iter().cloned().collect();
        let authorization = match (&self.username, &self.password_file, &self.bearer_token_file) {
            (Some(username), Some(file), _) => {
                let pair = format!("{username}:{}", secret(file)?);
                let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
                Some((format!("Basic {encoded}"), file))
            }
            (_, _, Some(file)) => Some((format!("Bearer {}", secret(file)?), file)),
            _ => None,
        };
        if let Some((text, file)) = authorization {
            let value = HeaderValue::from_str(&text);
            let mut value = value.map_err(|_| format!("{file}: not text for an HTTP header"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    // The value may be a secret.
    let problem = || "--header: must be 'Name: value'".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(problem)?;
    let name = name.trim().parse().map_err(|_| problem())?;
    let mut value = HeaderValue::from_str(value.trim()).map_err(|_| problem())?;
    value.set_sensitive(true);
    Ok((name, value))
}

fn secret(file: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    match text.trim() {
        "" => Err(format!("{file}: is empty; it must contain the secret")),
        secret => Ok(secret.to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn connection(line: &[&str]) -> Result<Connection, String> {
        let mut arguments = Arguments::new(line.iter().map(OsString::from));
        let mut connection = Connection::default();
        while let Some(flag) = arguments.flag()? {
            assert!(connection.take(&flag, &mut arguments)?, "{flag}");
        }
        connection.check()?;
        Ok(connection)
    }

    #[test]
    fn targets_are_urls() {
        let line = ["--targets", "a:1,https://b/x/", "-targets=dns+c:80"];
        let connection = connection(&line).unwrap();
        assert_eq!(
            connection.targets(),
            ["http://a:1", "https://b/x", "dns+http://c:80"]
        );
    }

    #[test]
    fn credentials_become_headers() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "p\n").unwrap();
        let file = file.to_str().unwrap();
        for (line, expected) in [
            (
                vec!["--username", "me", "--password-file", file],
                "Basic bWU6cA==",
            ),
            (vec!["--bearer-token-file", file], "Bearer p"),
            (vec!["--header", "Authorization: Other x"], "Other x"),
        ] {
            let line = [vec!["--targets", "a"], line].concat();
            let headers = connection(&line).unwrap().headers().unwrap();
            assert_eq!(headers[AUTHORIZATION], expected);
            assert!(headers[AUTHORIZATION].is_sensitive());
        }
        let nothing = connection(&["--targets", "a", "--bearer-token-file", "/nowhere"]);
        assert!(nothing.unwrap().client().unwrap_err().contains("/nowhere"));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, problem) in [
            (vec![], "--targets is missing"),
            (vec!["--targets"], "--targets needs a value"),
            (vec!["--targets", "ftp://a"], "must be host:port"),
            (
                vec!["--targets", "a", "--cert-file", "c"],
                "must be set together",
            ),
            (
                vec!["--targets", "a", "--username", "c"],
                "must be set together",
            ),
            (
                vec!["--targets", "a", "--header", "hush"],
                "must be 'Name: value'",
            ),
            (vec!["a"], "unknown argument \"a\""),
        ] {
            let error = connection(&line).unwrap_err();
            assert!(error.contains(problem), "{line:?}: {error}");
            assert!(!error.contains("hush"));
        }
    }
}
