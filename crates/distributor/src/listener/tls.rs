//! TLS and mutual TLS of a listener.

use std::error::Error;
use std::sync::Arc;

use distributor_config::{ClientAuth, ServerTls};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tls_files::pem;

/// `None` if TLS is off.
pub(super) fn server_config(
    tls: &ServerTls,
    is_http2_only: bool,
) -> Result<Option<ServerConfig>, Box<dyn Error + Send + Sync>> {
    let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) else {
        return Ok(None);
    };
    let build = || -> Result<ServerConfig, Box<dyn Error + Send + Sync>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match (tls.client_auth_type, &tls.client_ca_file) {
            (ClientAuth::NoClientCert, _) | (_, None) => builder.with_no_client_auth(),
            (required, Some(ca)) => {
                let mut roots = RootCertStore::empty();
                for certificate in pem::certificates(ca)? {
                    roots.add(certificate)?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = if required == ClientAuth::VerifyClientCertIfGiven {
                    verifier.allow_unauthenticated()
                } else {
                    verifier
                };
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        let mut config =
            builder.with_single_cert(pem::certificates(cert)?, pem::private_key(key)?)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        if !is_http2_only {
            config.alpn_protocols.push(b"http/1.1".to_vec());
        }
        Ok(config)
    };
    build().map(Some)
}
