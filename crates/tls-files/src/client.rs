//! TLS of clients: trusted CAs, and a client certificate.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::pem::{self, PemError};

/// The CAs that a client trusts, and its certificate. By default it trusts the system's CAs and has
/// no certificate.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClientFiles<'a> {
    /// PEM file with the CA certificates to trust instead of the system's.
    pub ca_file: Option<&'a Path>,
    /// PEM certificate chain to present to servers that request one; only with `key_file`.
    pub cert_file: Option<&'a Path>,
    /// PEM key of that certificate.
    pub key_file: Option<&'a Path>,
    /// Name to verify instead of the URL's host.
    pub server_name: Option<&'a str>,
    /// Accept any certificate if the server has its key.
    pub accepts_any: bool,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A configured CA certificate is not valid.
    #[error("the certificate authorities: {0}")]
    Roots(rustls::Error),
    /// The system has no CA certificates.
    #[error("the system's root certificates: {0}")]
    SystemRoots(rustls::Error),
    /// The configured CA certificates cannot be used.
    #[error("the certificate authorities: {0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
    /// A certificate and its key do not match, or cannot be used.
    #[error("the certificate {cert} and the key {key}: {source}")]
    Identity {
        /// File of the certificate.
        cert: String,
        /// File of the key.
        key: String,
        /// What is wrong.
        source: rustls::Error,
    },
    /// Not a name that a certificate can have.
    #[error("the server's name: {0}")]
    ServerName(#[from] rustls::pki_types::InvalidDnsNameError),
    /// No protocol version is left.
    #[error("{0}")]
    Versions(rustls::Error),
}

/// The TLS configuration of a client with these files.
///
/// # Errors
/// A file cannot be read or is not valid.
pub fn client_config(files: &ClientFiles<'_>) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = verifier(files, &provider)?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Versions)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    Ok(match identity(files, &provider)? {
        Some(identity) => {
            let identity = Arc::new(SingleCertAndKey::from(identity));
            builder.with_client_cert_resolver(identity)
        }
        None => builder.with_no_client_auth(),
    })
}

/// What a client shows to servers that ask for a certificate.
pub(crate) fn identity(
    files: &ClientFiles<'_>,
    provider: &CryptoProvider,
) -> Result<Option<CertifiedKey>, TlsError> {
    match (files.cert_file, files.key_file) {
        (Some(cert), Some(key)) => certified_key(cert, key, provider).map(Some),
        _ => Ok(None),
    }
}

pub(crate) fn certified_key(
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let (certificates, key_der) = (pem::certificates(cert)?, pem::private_key(key)?);
    CertifiedKey::from_der(certificates, key_der, provider).map_err(|source| TlsError::Identity {
        cert: cert.display().to_string(),
        key: key.display().to_string(),
        source,
    })
}

pub(crate) fn verifier(
    files: &ClientFiles<'_>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    if files.accepts_any {
        return Ok(Arc::new(AnyCertificate(Arc::clone(provider))));
    }
    let inner: Arc<dyn ServerCertVerifier> = match files.ca_file {
        None => Arc::new(
            rustls_platform_verifier::Verifier::new(Arc::clone(provider))
                .map_err(TlsError::SystemRoots)?,
        ),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in pem::certificates(path)? {
                roots.add(certificate).map_err(TlsError::Roots)?;
            }
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                .build()?
        }
    };
    Ok(match files.server_name {
        None => inner,
        Some(name) => Arc::new(OtherName {
            inner,
            name: ServerName::try_from(name.to_owned())?,
        }),
    })
}

/// Verifies the certificate against a configured name instead of the URL's host.
#[derive(Debug)]
struct OtherName {
    inner: Arc<dyn ServerCertVerifier>,
    name: ServerName<'static>,
}

impl ServerCertVerifier for OtherName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.inner
            .verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Accepts any certificate, but the peer must have its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
