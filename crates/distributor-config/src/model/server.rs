//! `server`: listeners, TLS, shutdown, logs.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use settings::{Kind, Secret, settings, words};

settings! {
    /// `server.*`.
    #[serde(deny_unknown_fields)]
    pub struct ServerConfig {
        /// Address of the HTTP server; empty for all.
        #[setting(flag = "server.http-listen-address", kind = Kind::Address, default = "")]
        pub http_listen_address: Option<IpAddr>,
        /// Port of the HTTP server; 0 for a free one.
        #[setting(flag = "server.http-listen-port", kind = Kind::Port, default = "8080", basic)]
        pub http_listen_port: u16,
        /// Address of the gRPC server; empty for all.
        #[setting(flag = "server.grpc-listen-address", kind = Kind::Address, default = "")]
        pub grpc_listen_address: Option<IpAddr>,
        /// Port of the gRPC server; 0 for a free one.
        #[setting(flag = "server.grpc-listen-port", kind = Kind::Port, default = "9095", basic)]
        pub grpc_listen_port: u16,
        /// Most connections to the HTTP server at the same time; beyond that, an idle one is closed
        /// for each new one. 0 for as many as the limit of open files allows, with a part reserved
        /// for other uses.
        #[setting(flag = "server.http-conn-limit", kind = Kind::Unsigned, default = "0")]
        pub http_listen_conn_limit: u64,
        /// The same for the gRPC server.
        #[setting(flag = "server.grpc-conn-limit", kind = Kind::Unsigned, default = "0")]
        pub grpc_listen_conn_limit: u64,
        /// An HTTP/1.1 connection is closed when it has had no request for this long. Keep it above
        /// the time for which senders keep idle connections (Go's default is 90 s).
        #[setting(
            flag = "server.http-idle-timeout",
            kind = Kind::Duration,
            default = "2m",
            nonzero
        )]
        pub http_server_idle_timeout: Duration,
        /// Path below which everything is served as well, such as /mimir. Empty for none.
        #[setting(flag = "server.path-prefix", kind = Kind::Text, default = "")]
        pub http_path_prefix: String,
        /// How long requests in flight may take after the process was told to stop.
        #[setting(
            flag = "server.graceful-shutdown-timeout",
            kind = Kind::Duration,
            default = "30s"
        )]
        pub graceful_shutdown_timeout: Duration,
        /// Serve CPU and heap profiles at /debug/pprof/profile?seconds=30 and /debug/pprof/heap, to clients
        /// that may read the pages.
        #[setting(flag = "server.profiling-enabled", kind = Kind::Bool, default = "false")]
        pub profiling_enabled: bool,
        /// Log only lines of at least this level: debug, info, warn or error.
        #[setting(flag = "log.level", kind = Kind::OneOf(LogLevel::WORDS), default = "info", basic)]
        pub log_level: LogLevel,
        /// Format of the log: logfmt or json.
        #[setting(
            flag = "log.format",
            kind = Kind::OneOf(LogFormat::WORDS),
            default = "logfmt",
            basic
        )]
        pub log_format: LogFormat;
        /// TLS of the HTTP listener.
        pub http_tls_config: ServerTls = ServerTls::default(),
        /// TLS of the gRPC listener.
        pub grpc_tls_config: ServerTls = ServerTls::default(),
    }
}

settings! {
    /// TLS of one listener; off when no certificate is set. Mimir's names.
    #[serde(deny_unknown_fields)]
    pub struct ServerTls {
        /// PEM file with the certificate chain of the server; TLS is off without it.
        #[setting(flag = "cert-path", kind = Kind::Path, default = "")]
        pub cert_file: Option<PathBuf>,
        /// PEM file with the private key of the server.
        #[setting(flag = "key-path", kind = Kind::Path, default = "")]
        pub key_file: Option<PathBuf>,
        /// PEM file with the CA certificates that client certificates are verified against.
        #[setting(flag = "ca-path", kind = Kind::Path, default = "")]
        pub client_ca_file: Option<PathBuf>,
        /// The certificate chain of the server itself, in PEM, instead of its file.
        #[setting(flag = "", kind = Kind::Text, default = "")]
        pub cert: Option<String>,
        /// The private key of the server itself, in PEM, instead of its file.
        #[setting(flag = "", kind = Kind::Text, default = "", secret)]
        pub key: Option<Secret>,
        /// The CA certificates that client certificates are verified against, in PEM, instead of
        /// their file.
        #[setting(flag = "", kind = Kind::Text, default = "")]
        pub client_ca: Option<String>,
        /// Whether clients must present a certificate: NoClientCert, RequestClientCert,
        /// RequireAnyClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert. Only the
        /// last two verify it.
        #[setting(
            flag = "client-auth",
            kind = Kind::OneOf(ClientAuth::WORDS),
            default = "NoClientCert",
            blank
        )]
        pub client_auth_type: ClientAuth,
    }
}

impl ServerTls {
    /// Whether TLS is on.
    pub fn has_certificate(&self) -> bool {
        self.cert_file.is_some() || self.cert.is_some()
    }

    /// Whether there is anything to verify client certificates against.
    pub fn has_authorities(&self) -> bool {
        self.client_ca_file.is_some() || self.client_ca.is_some()
    }
}

words! {
    /// `client_auth_type`, with the names of Go's crypto/tls.
    pub enum ClientAuth {
        /// The default.
        NoClientCert = "NoClientCert",
        /// Clients are asked for a certificate, which is not verified.
        RequestClientCert = "RequestClientCert",
        /// Clients must present a certificate, which is not verified.
        RequireAnyClientCert = "RequireAnyClientCert",
        /// If a client presents a certificate, it must be valid.
        VerifyClientCertIfGiven = "VerifyClientCertIfGiven",
        /// Mutual TLS.
        RequireAndVerifyClientCert = "RequireAndVerifyClientCert",
    }
}

impl ClientAuth {
    /// Whether a certificate that a client shows must be signed by one of the authorities.
    pub fn verifies(self) -> bool {
        matches!(
            self,
            Self::VerifyClientCertIfGiven | Self::RequireAndVerifyClientCert
        )
    }
}

words! {
    /// `server.log_level`.
    pub enum LogLevel {
        /// Everything.
        Debug = "debug",
        /// The default.
        Info = "info",
        /// Warnings and errors.
        Warn = "warn",
        /// Errors only.
        Error = "error",
    }
}

words! {
    /// `server.log_format`.
    pub enum LogFormat {
        /// The default.
        Logfmt = "logfmt",
        /// An object per line.
        Json = "json",
    }
}
