//! TLS towards others: downstreams and stores.

use distributor_config::ClientTls;
use rustls::ClientConfig;
use tls_files::{ClientFiles, TlsError};

/// A client that trusts and shows what `tls` says.
pub(crate) fn client_config(tls: &ClientTls) -> Result<ClientConfig, TlsError> {
    tls_files::client_config(&ClientFiles {
        ca_file: tls.ca_file.as_deref(),
        cert_file: tls.cert_file.as_deref(),
        key_file: tls.key_file.as_deref(),
        server_name: tls.server_name.as_deref(),
        accepts_any: tls.insecure_skip_verify,
    })
}
