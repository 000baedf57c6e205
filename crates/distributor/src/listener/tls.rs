//! TLS and mutual TLS of a listener.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use distributor_config::{ClientAuth, Secret, ServerTls};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use tls_files::pem::{self, PemSource};

type Failed = Box<dyn Error + Send + Sync>;

/// `None` if TLS is off.
pub(super) fn server_config(
    tls: &ServerTls,
    is_http2_only: bool,
) -> Result<Option<ServerConfig>, Failed> {
    let cert = source("cert", tls.cert_file.as_deref(), tls.cert.as_deref());
    let key = tls.key.as_ref().map(Secret::expose);
    let key = source("key", tls.key_file.as_deref(), key);
    let (Some(cert), Some(key)) = (cert, key) else {
        return Ok(None);
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match client_verifier(tls, provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config =
        builder.with_single_cert(pem::certificates_of(cert)?, pem::private_key_of(key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    if !is_http2_only {
        config.alpn_protocols.push(b"http/1.1".to_vec());
    }
    Ok(Some(config))
}

/// At most one of both is set.
fn source<'a>(
    name: &'a str,
    file: Option<&'a Path>,
    text: Option<&'a str>,
) -> Option<PemSource<'a>> {
    file.map(PemSource::File)
        .or(text.map(|text| PemSource::Text { name, text }))
}

/// `None` if clients are not asked for a certificate.
fn client_verifier(
    tls: &ServerTls,
    provider: Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, Failed> {
    let is_mandatory = match tls.client_auth_type {
        ClientAuth::NoClientCert => return Ok(None),
        ClientAuth::RequestClientCert | ClientAuth::VerifyClientCertIfGiven => false,
        ClientAuth::RequireAnyClientCert | ClientAuth::RequireAndVerifyClientCert => true,
    };
    if !tls.client_auth_type.verifies() {
        return Ok(Some(Arc::new(AnyCertificate {
            is_mandatory,
            algorithms: provider.signature_verification_algorithms,
        })));
    }
    let (file, text) = (tls.client_ca_file.as_deref(), tls.client_ca.as_deref());
    let authorities = source("client_ca", file, text)
        .ok_or("client certificates cannot be verified without authorities")?;
    let mut roots = RootCertStore::empty();
    for certificate in pem::certificates_of(authorities)? {
        roots.add(certificate)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = if is_mandatory {
        verifier
    } else {
        verifier.allow_unauthenticated()
    };
    Ok(Some(verifier.build()?))
}

/// As Go's `RequestClientCert` and `RequireAnyClientCert`: a client that shows a certificate proves
/// that it has the key; who signed it is not asked.
#[derive(Debug)]
struct AnyCertificate {
    is_mandatory: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
