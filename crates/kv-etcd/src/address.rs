//! Addresses of members.

use http::Uri;
use rustls::pki_types::ServerName;
use settings::redact_userinfo;

use crate::config_error::ConfigError;

/// Where a member listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// A name or an IP address, the latter without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `host:port`
    pub(crate) name: String,
    /// With `http://` or `https://`, as sent to the member.
    pub(crate) uri: Uri,
    /// With `http://`, as given to tonic, which does not know that our connector does TLS.
    pub(crate) connect_to: Uri,
    /// The name that the member's certificate must have, if it has one.
    pub(crate) server_name: Option<ServerName<'static>>,
}

impl Address {
    pub(crate) fn parse(endpoint: &str, tls: bool) -> Result<Self, ConfigError> {
        let bad = |problem: &str| ConfigError::BadEndpoint {
            endpoint: redact_userinfo(endpoint),
            problem: problem.to_owned(),
        };
        let authority = match endpoint.split_once("://") {
            Some(("http", _)) if tls => {
                return Err(ConfigError::PlainWithTls {
                    endpoint: redact_userinfo(endpoint),
                });
            }
            Some(("https", _)) if !tls => {
                return Err(ConfigError::TlsNotEnabled {
                    endpoint: redact_userinfo(endpoint),
                });
            }
            Some(("http" | "https", rest)) => rest.strip_suffix('/').unwrap_or(rest),
            Some(_) => return Err(bad("its scheme is neither http nor https")),
            None => endpoint,
        };
        if authority.contains(['/', '?', '#']) {
            return Err(bad("it has a path"));
        }
        if authority.contains('@') {
            return Err(bad("user and password belong in their own settings"));
        }
        let parse = |scheme: &str| {
            format!("{scheme}://{authority}")
                .parse::<Uri>()
                .map_err(|error| bad(&format!("it is not an address ({error})")))
        };
        let connect_to = parse("http")?;
        let uri = parse(if tls { "https" } else { "http" })?;
        let host = match uri.host() {
            Some(host) if !host.is_empty() => host,
            _ => return Err(bad("it has no host")),
        };
        let port = match uri.port_u16() {
            Some(port) if port != 0 => port,
            _ => return Err(bad("it has no port from 1 to 65535")),
        };
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
            .to_owned();
        let server_name = if tls {
            let name = ServerName::try_from(host.clone())
                .map_err(|_| bad("its host cannot occur as a name in a certificate"))?;
            Some(name)
        } else {
            None
        };
        Ok(Self {
            host,
            port,
            name: authority.to_owned(),
            uri,
            connect_to,
            server_name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_the_usual_forms() {
        for (endpoint, tls, host, port, uri) in [
            ("etcd:2379", false, "etcd", 2379, "http://etcd:2379/"),
            ("etcd:2379", true, "etcd", 2379, "https://etcd:2379/"),
            (
                "http://10.0.0.1:1/",
                false,
                "10.0.0.1",
                1,
                "http://10.0.0.1:1/",
            ),
            (
                "https://etcd-0.etcd:9",
                true,
                "etcd-0.etcd",
                9,
                "https://etcd-0.etcd:9/",
            ),
            ("[::1]:2379", true, "::1", 2379, "https://[::1]:2379/"),
        ] {
            let address = Address::parse(endpoint, tls).unwrap();
            assert_eq!(
                (
                    address.host.as_str(),
                    address.port,
                    address.uri.to_string().as_str()
                ),
                (host, port, uri)
            );
            assert_eq!(address.server_name.is_some(), tls);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (endpoint, tls, says) in [
            ("", false, "not an address"),
            ("etcd", false, "no port"),
            ("etcd:0", false, "no port"),
            ("etcd:99999", false, "no port"),
            (":2379", false, "no host"),
            ("unix:///run/etcd", false, "neither http nor https"),
            ("http://etcd:2379/v3", false, "has a path"),
            ("root:secret@etcd:2379", false, "their own settings"),
            ("http://etcd:2379", true, "TLS is enabled"),
            ("https://etcd:2379", false, "TLS is not enabled"),
            ("two words:2379", false, "not an address"),
        ] {
            let error = Address::parse(endpoint, tls).unwrap_err().to_string();
            assert!(error.contains(says), "{endpoint:?}: {error}");
            let shown = redact_userinfo(endpoint);
            assert!(error.contains(&format!("{shown:?}")), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
