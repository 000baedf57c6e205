//! The parts of the table that stand below a list or in a file of their own.

use settings::{Kind, Setting};

/// The settings of one entry of `distributor.downstream`.
pub(super) static DOWNSTREAM: &[Setting] = &[
    Setting::new(
        "name",
        "",
        Kind::Text,
        "",
        "Label in metrics and logs, different for each; empty for host and port of the URL.",
    ),
    Setting::new(
        "url",
        "",
        Kind::Url,
        "",
        "Remote-write endpoint, http or https, with its path; required.",
    ),
    Setting::new(
        "remote_timeout",
        "",
        Kind::Duration,
        "20s",
        "How long one request may take; distributor.remote_timeout bounds it too.",
    )
    .nonzero(),
    Setting::new(
        "headers",
        "",
        Kind::Headers,
        "",
        "Headers added to every request.",
    )
    .secret(),
    Setting::new(
        "tenant_header",
        "",
        Kind::HeaderName,
        "X-Scope-OrgID",
        "Header that carries the tenant; empty to send none.",
    ),
    Setting::new(
        "basic_auth.username",
        "",
        Kind::Text,
        "",
        "User of HTTP basic authentication.",
    ),
    Setting::new(
        "basic_auth.password",
        "",
        Kind::Text,
        "",
        "Password of HTTP basic authentication.",
    )
    .secret(),
    Setting::new(
        "bearer_token",
        "",
        Kind::Text,
        "",
        "Bearer token of every request.",
    )
    .secret(),
    Setting::new(
        "bearer_token_file",
        "",
        Kind::Path,
        "",
        "File with the bearer token, read again when it changes.",
    ),
    Setting::new(
        "tls.ca_file",
        "",
        Kind::Path,
        "",
        "PEM file with the authorities to trust instead of the system's.",
    ),
    Setting::new(
        "tls.cert_file",
        "",
        Kind::Path,
        "",
        "PEM file with the client certificate chain.",
    ),
    Setting::new(
        "tls.key_file",
        "",
        Kind::Path,
        "",
        "PEM file with the client's private key.",
    ),
    Setting::new(
        "tls.server_name",
        "",
        Kind::Text,
        "",
        "Name to verify in the certificate instead of the URL's host.",
    ),
    Setting::new(
        "tls.insecure_skip_verify",
        "",
        Kind::Bool,
        "false",
        "Accept any certificate.",
    ),
    Setting::new(
        "max_concurrency",
        "",
        Kind::Unsigned,
        "256",
        "Requests in flight to this downstream; more wait, within the timeout.",
    )
    .nonzero(),
];

/// What the runtime configuration file holds.
pub(super) static RUNTIME: &[Setting] = &[
    Setting::new(
        "overrides",
        "",
        Kind::Tenants,
        "",
        "For each tenant any of the settings of limits, by their names there.",
    ),
    Setting::new(
        "multi_kv_config.primary",
        "",
        Kind::Text,
        "",
        "Primary store of the multi store, instead of the configured one.",
    ),
    Setting::new(
        "multi_kv_config.mirror_enabled",
        "",
        Kind::Bool,
        "",
        "Whether the multi store mirrors, instead of what is configured.",
    ),
];
