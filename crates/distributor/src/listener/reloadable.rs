//! Certificates and keys of a listener that change while it serves.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use distributor_config::ServerTls;
use watched_files::Reload;

use super::tls;

/// TLS whose files can be read again.
pub(super) struct Reloadable {
    pub(super) tls: ServerTls,
    pub(super) is_http2_only: bool,
    pub(super) current: ArcSwap<rustls::ServerConfig>,
}

impl Reload for Reloadable {
    fn files(&self) -> Vec<PathBuf> {
        let tls = &self.tls;
        let files = [&tls.cert_file, &tls.key_file, &tls.client_ca_file];
        files.into_iter().flatten().cloned().collect()
    }

    fn reload(&self) -> Result<(), String> {
        let config = tls::server_config(&self.tls, self.is_http2_only);
        if let Some(config) = config.map_err(|error| error.to_string())? {
            self.current.store(Arc::new(config));
        }
        Ok(())
    }
}
