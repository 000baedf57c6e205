//! Certificates and keys from PEM files, or from PEM that stands in a configuration.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};

/// Where PEM is.
#[derive(Debug, Clone, Copy)]
pub enum PemSource<'a> {
    /// In this file.
    File(&'a Path),
    /// Here, set by what is called `name`.
    Text {
        /// What errors call it.
        name: &'a str,
        /// The PEM itself; errors do not quote it.
        text: &'a str,
    },
}

impl PemSource<'_> {
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Text { name, .. } => (*name).to_owned(),
        }
    }
}

/// Why PEM is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// It cannot be read or has other content.
    #[error("{place}: {source}")]
    Read {
        /// The file, or what set it.
        place: String,
        /// What is wrong.
        source: pem::Error,
    },
    /// It has no certificate.
    #[error("{place}: contains no certificate")]
    NoCertificate {
        /// The file, or what set it.
        place: String,
    },
}

/// All certificates of the file, at least one.
///
/// # Errors
/// It cannot be read, or there is none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    certificates_of(PemSource::File(path))
}

/// As [`certificates`], of any source.
///
/// # Errors
/// It cannot be read, or there is none.
pub fn certificates_of(pem: PemSource<'_>) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let fail = |source| PemError::Read {
        place: pem.name(),
        source,
    };
    let certificates: Vec<_> = match pem {
        PemSource::File(path) => CertificateDer::pem_file_iter(path)
            .map_err(fail)?
            .collect::<Result<_, _>>(),
        PemSource::Text { text, .. } => {
            CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>()
        }
    }
    .map_err(fail)?;
    if certificates.is_empty() {
        return Err(PemError::NoCertificate { place: pem.name() });
    }
    Ok(certificates)
}

/// The first private key of the file.
///
/// # Errors
/// It cannot be read, or there is none.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    private_key_of(PemSource::File(path))
}

/// As [`private_key`], of any source.
///
/// # Errors
/// It cannot be read, or there is none.
pub fn private_key_of(pem: PemSource<'_>) -> Result<PrivateKeyDer<'static>, PemError> {
    let key = match pem {
        PemSource::File(path) => PrivateKeyDer::from_pem_file(path),
        PemSource::Text { text, .. } => PrivateKeyDer::from_pem_slice(text.as_bytes()),
    };
    key.map_err(|source| PemError::Read {
        place: pem.name(),
        source,
    })
}
