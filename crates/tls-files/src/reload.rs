//! TLS whose files can be read again. The configuration stays the same object; what it verifies and
//! shows is replaced, so that every client and server that has it uses the new files for its next
//! handshake. Connections that exist are not touched.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use watched_files::Reload;

use crate::client::{ClientFiles, TlsError, identity, verifier};
use crate::limits::TlsLimits;

/// The files of a client, which can be read again.
#[derive(Debug)]
pub struct ReloadingClient {
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    server_name: Option<String>,
    accepts_any: bool,
    provider: Arc<CryptoProvider>,
    verifier: Arc<Verifier>,
    identity: Arc<Identity>,
}

impl ReloadingClient {
    /// A configuration that uses what these files say, now and after each reload.
    ///
    /// # Errors
    /// A file cannot be read or is not valid.
    pub fn new(files: &ClientFiles<'_>) -> Result<(Arc<Self>, ClientConfig), TlsError> {
        Self::limited(files, &TlsLimits::default())
    }

    /// As [`ReloadingClient::new`], with these versions and cipher suites only.
    ///
    /// # Errors
    /// As there.
    pub fn limited(
        files: &ClientFiles<'_>,
        limits: &TlsLimits,
    ) -> Result<(Arc<Self>, ClientConfig), TlsError> {
        let provider = Arc::new(limits.provider());
        let own = |path: Option<&Path>| path.map(Path::to_owned);
        let verifier = verifier(files, &provider)?;
        let identity = identity(files, &provider)?;
        let client = Arc::new(Self {
            ca_file: own(files.ca_file),
            cert_file: own(files.cert_file),
            key_file: own(files.key_file),
            server_name: files.server_name.map(str::to_owned),
            accepts_any: files.accepts_any,
            provider: Arc::clone(&provider),
            verifier: Arc::new(Verifier(ArcSwap::from_pointee(verifier))),
            identity: Arc::new(Identity(ArcSwapOption::new(identity.map(Arc::new)))),
        });
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(limits.versions())
            .map_err(TlsError::Versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&client.verifier) as _);
        let mut config = match client.has_identity() {
            true => builder.with_client_cert_resolver(Arc::clone(&client.identity) as _),
            false => builder.with_no_client_auth(),
        };
        if !client.files().is_empty() {
            // A resumed session would keep what the files said before.
            config.resumption = Resumption::disabled();
        }
        Ok((client, config))
    }

    fn has_identity(&self) -> bool {
        self.cert_file.is_some() && self.key_file.is_some()
    }

    fn read(&self) -> Result<(), TlsError> {
        let files = ClientFiles {
            ca_file: self.ca_file.as_deref(),
            cert_file: self.cert_file.as_deref(),
            key_file: self.key_file.as_deref(),
            server_name: self.server_name.as_deref(),
            accepts_any: self.accepts_any,
        };
        // Both are read before either is used.
        let verifier = verifier(&files, &self.provider)?;
        let identity = identity(&files, &self.provider)?;
        self.verifier.0.store(Arc::new(verifier));
        self.identity.0.store(identity.map(Arc::new));
        Ok(())
    }
}

impl Reload for ReloadingClient {
    fn files(&self) -> Vec<PathBuf> {
        let files = [&self.ca_file, &self.cert_file, &self.key_file];
        files.into_iter().flatten().cloned().collect()
    }

    fn reload(&self) -> Result<(), String> {
        self.read().map_err(|error| error.to_string())
    }
}

/// The certificate of a server, which can be read again.
#[derive(Debug)]
pub struct ReloadingIdentity {
    cert_file: PathBuf,
    key_file: PathBuf,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<CertifiedKey>,
}

impl ReloadingIdentity {
    /// Reads the certificate chain and its key.
    ///
    /// # Errors
    /// A file cannot be read, or the two do not match.
    pub fn new(
        cert_file: &Path,
        key_file: &Path,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<Self>, TlsError> {
        let current = crate::client::certified_key(cert_file, key_file, provider)?;
        Ok(Arc::new(Self {
            cert_file: cert_file.to_owned(),
            key_file: key_file.to_owned(),
            provider: Arc::clone(provider),
            current: ArcSwap::from_pointee(current),
        }))
    }
}

impl Reload for ReloadingIdentity {
    fn files(&self) -> Vec<PathBuf> {
        vec![self.cert_file.clone(), self.key_file.clone()]
    }

    fn reload(&self) -> Result<(), String> {
        let read = crate::client::certified_key(&self.cert_file, &self.key_file, &self.provider);
        let read = read.map_err(|error| error.to_string())?;
        self.current.store(Arc::new(read));
        Ok(())
    }
}

impl ResolvesServerCert for ReloadingIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

#[derive(Debug)]
struct Verifier(ArcSwap<Arc<dyn ServerCertVerifier>>);

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.0
            .load()
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.load().verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.load().verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.load().supported_verify_schemes()
    }
}

#[derive(Debug)]
struct Identity(ArcSwapOption<CertifiedKey>);

impl ResolvesClientCert for Identity {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }

    fn has_certs(&self) -> bool {
        self.0.load().is_some()
    }
}
