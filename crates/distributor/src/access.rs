//! Who may ask for what: the credentials of senders, and those of the pages.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use credentials::{Credentials, Denied, Identity, SecretFileError};
use distributor_config::{Config, ConfigErrors, read_credentials};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use watched_files::Reload;

/// What a client without credentials is told to send.
pub(crate) const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"distributor\"");

/// Why credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The file has mistakes.
    #[error("{setting}: {errors}")]
    File {
        /// The setting that names the file.
        setting: &'static str,
        /// What is wrong.
        errors: ConfigErrors,
    },
    /// A file with a secret, which the file names, cannot be used.
    #[error("{setting}: {error}")]
    Secret {
        /// The setting that names the file.
        setting: &'static str,
        /// What is wrong.
        error: SecretFileError,
    },
}

/// Who may do what. Without a file, everyone.
pub(crate) struct Access {
    senders: Option<Arc<CredentialsFile>>,
    pages: Option<Arc<CredentialsFile>>,
}

impl Access {
    /// Reads the files that `config` names.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub(crate) fn open(config: &Config) -> Result<Self, AccessError> {
        let open = |setting, file: &Option<PathBuf>| {
            let file = file.as_deref();
            let file = file.map(|path| CredentialsFile::open(setting, path));
            file.transpose()
        };
        Ok(Self {
            senders: open("senders_credentials_file", &config.senders_credentials_file)?,
            pages: open("pages_credentials_file", &config.pages_credentials_file)?,
        })
    }

    /// The files, each with the setting that names it.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, Arc<dyn Reload>)> {
        let files = [&self.senders, &self.pages].into_iter().flatten();
        files.map(|file| (file.setting, Arc::clone(file) as Arc<dyn Reload>))
    }

    /// Whose samples these are; `None` if no credentials are needed.
    ///
    /// # Errors
    /// Credentials are needed, and are missing or not known.
    pub(crate) fn sender(&self, headers: &HeaderMap) -> Result<Option<Identity>, Denied> {
        let senders = self.senders.as_ref();
        senders.map(|file| file.identify(headers)).transpose()
    }

    /// Whether this may read a page.
    ///
    /// # Errors
    /// Credentials are needed, and are missing or not known.
    pub(crate) fn page(&self, headers: &HeaderMap) -> Result<(), Denied> {
        match &self.pages {
            Some(file) => file.identify(headers).map(drop),
            None => Ok(()),
        }
    }

    /// The name of the credential of the pages, for the log; `None` if none is needed or known.
    pub(crate) fn reader(&self, headers: &HeaderMap) -> Option<String> {
        let identity = self.pages.as_ref()?.identify(headers).ok()?;
        Some(identity.name)
    }

    /// Whether this may read elections and cause them, of every tenant: with credentials of the pages,
    /// or those of a sender that is bound to no tenant.
    ///
    /// # Errors
    /// Neither.
    pub(crate) fn elections(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let as_sender = |file: &CredentialsFile| match file.identify(headers)? {
            identity if identity.tenants.is_empty() => Ok(()),
            _ => Err(Denied::Unknown),
        };
        match (&self.pages, &self.senders) {
            (None, None) => Ok(()),
            (Some(_), None) => self.page(headers),
            (None, Some(senders)) => as_sender(senders),
            (Some(_), Some(senders)) => self.page(headers).or_else(|_| as_sender(senders)),
        }
    }
}

/// A file of credentials, and those that it names.
struct CredentialsFile {
    setting: &'static str,
    path: PathBuf,
    current: ArcSwap<Credentials>,
}

impl CredentialsFile {
    fn open(setting: &'static str, path: &Path) -> Result<Arc<Self>, AccessError> {
        Ok(Arc::new(Self {
            setting,
            path: path.to_owned(),
            current: ArcSwap::from_pointee(read(setting, path)?),
        }))
    }

    fn identify(&self, headers: &HeaderMap) -> Result<Identity, Denied> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let header = given.next();
        if given.next().is_some() {
            return Err(Denied::Malformed);
        }
        self.current.load().identify(header).cloned()
    }
}

impl Reload for CredentialsFile {
    fn files(&self) -> Vec<PathBuf> {
        let current = self.current.load();
        let own = std::iter::once(self.path.clone());
        own.chain(current.files().iter().cloned()).collect()
    }

    fn reload(&self) -> Result<(), String> {
        let read = read(self.setting, &self.path).map_err(|error| error.to_string())?;
        self.current.store(Arc::new(read));
        Ok(())
    }
}

fn read(setting: &'static str, path: &Path) -> Result<Credentials, AccessError> {
    let list = read_credentials(path).map_err(|errors| AccessError::File { setting, errors })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    Credentials::new(&list, folder).map_err(|error| AccessError::Secret { setting, error })
}
