//! Certificates, and TLS in front of a peer that speaks plain HTTP.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// An authority and a folder with its certificates.
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key, as files.
pub struct Identity {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), &pem).unwrap();
        Self {
            folder,
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// The file with its own certificate.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its own certificate.
    pub fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()
    }

    /// Signs a certificate for a DNS name or an IP address, good for servers and clients.
    pub fn sign(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |what: &str| self.folder.path().join(format!("{name}-{what}.pem"));
        let identity = Identity {
            cert: path("cert"),
            key: path("key"),
        };
        fs::write(&identity.cert, certificate.pem()).unwrap();
        fs::write(&identity.key, key.serialize_pem()).unwrap();
        identity
    }
}

impl Identity {
    /// For clients: certificate and key in one.
    pub fn pem(&self) -> String {
        fs::read_to_string(&self.cert).unwrap() + &fs::read_to_string(&self.key).unwrap()
    }
}

/// Decrypts what comes and passes it on.
pub struct TlsFront {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl TlsFront {
    /// Listens on a free port; with `client_ca`, only for clients with a certificate of it.
    pub async fn start(
        identity: &Identity,
        client_ca: Option<&Authority>,
        backend: SocketAddr,
    ) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(server_config(identity, client_ca)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    match acceptor.accept(stream).into_fallible().await {
                        Ok(mut inside) => {
                            let mut outside = TcpStream::connect(backend).await?;
                            copy_bidirectional(&mut inside, &mut outside).await
                        }
                        Err((_, refused)) => close_after_alert(refused).await,
                    }
                });
            }
        });
        Self { address, task }
    }
}

/// Reads what the client has sent before it saw the alert. Without that the connection would be reset, and
/// a client that writes early would lose the alert, which says why.
async fn close_after_alert(mut stream: TcpStream) -> io::Result<(u64, u64)> {
    stream.shutdown().await?;
    let read = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok((read, 0))
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn server_config(identity: &Identity, client_ca: Option<&Authority>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            let pem = CertificateDer::from_pem_file(authority.path()).unwrap();
            roots.add(pem).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let certificate = CertificateDer::from_pem_file(&identity.cert).unwrap();
    let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
    builder.with_single_cert(vec![certificate], key).unwrap()
}
