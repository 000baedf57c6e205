//! The rules about settings together. Each names every value it is about and where that was set.

use std::fmt::Display;
use std::path::PathBuf;

use ha_failover::FailoverMode;
use kv_etcd::EtcdConfig;
use settings::{Report, format_duration};

use super::errors::Findings;
use super::mimir::check_target;
use super::model::{ClientAuth, Config, KvStoreConfig, Limits, ServerConfig, ServerTls, StoreKind};
use super::rules::{OriginOf, Section, set_one};
use super::schema::{CONSUL, ETCD, MEMBERLIST, MULTI_KV, RETRY_AFTER_HEADER};

/// Whether a store of this kind can be opened as configured, or why not. Without connecting to
/// anything: what can be wrong is a file of keys or certificates, or that this build lacks the store.
pub type TryStore<'a> = &'a dyn Fn(&Config, StoreKind) -> Result<(), String>;

/// Checks a complete configuration.
pub(super) fn check(
    config: &Config,
    origin_of: OriginOf<'_>,
    try_store: TryStore<'_>,
    findings: &mut Findings,
) {
    if !findings.concerns("no_auth_tenant") {
        check_tenant(
            &config.no_auth_tenant,
            &origin_of("no_auth_tenant"),
            findings,
        );
    }
    if !findings.concerns("target") {
        check_target(&config.target, &origin_of("target"), findings);
    }
    for (path, file) in [
        ("senders_credentials_file", &config.senders_credentials_file),
        ("pages_credentials_file", &config.pages_credentials_file),
    ] {
        check_file(path, &file_text(file), &origin_of(path), findings);
    }
    check_listeners(&config.server, origin_of, findings);
    check_path_prefix(&config.server.http_path_prefix, origin_of, findings);
    for (section, tls) in [
        ("server.http_tls_config", &config.server.http_tls_config),
        ("server.grpc_tls_config", &config.server.grpc_tls_config),
    ] {
        check_server_tls(section, tls, origin_of, findings);
    }
    if config.distributor.ha_tracker.enable_ha_tracker {
        check_store(config, origin_of, try_store, findings);
        check_failover_mode(config, origin_of, findings);
    }
    let retry_after = Section {
        path: RETRY_AFTER_HEADER,
        needed_by: RETRY_AFTER_HEADER,
    };
    retry_after.check(origin_of, findings, |report| {
        config.distributor.push.retry_after_header.check(report);
    });
    check_limits(&config.limits, "limits", origin_of, findings);
    warn_of_slow_downstream(config, findings);
}

const FAILOVER_MODE: &str = "limits.ha_failover_mode";

/// The records of failovers without loss need a place in the store.
fn check_failover_mode(config: &Config, origin_of: OriginOf<'_>, findings: &mut Findings) {
    let kvstore = &config.distributor.ha_tracker.kvstore;
    if config.limits.failover.mode == FailoverMode::Lossless
        && !findings.concerns(FAILOVER_MODE)
        && let Some(problem) = kvstore.lossless_refusal()
    {
        let problem = format!("got \"lossless\"; {problem}");
        findings.error(&origin_of(FAILOVER_MODE), FAILOVER_MODE, problem);
    }
}

fn check_tenant(tenant: &str, origin: &str, findings: &mut Findings) {
    if let Err(problem) = ha_tracker::validate_tenant(tenant) {
        findings.error(
            origin,
            "no_auth_tenant",
            format!("got {tenant:?}; {problem}"),
        );
    }
}

/// What chooses a store.
const STORE: &str = "distributor.ha_tracker.kvstore.store";

/// The chosen stores must be possible; the settings of the others do not matter.
fn check_store(
    config: &Config,
    origin_of: OriginOf<'_>,
    try_store: TryStore<'_>,
    findings: &mut Findings,
) {
    let kvstore = &config.distributor.ha_tracker.kvstore;
    if kvstore.store == StoreKind::Multi {
        let section = chosen(MULTI_KV);
        section.check(origin_of, findings, |report| kvstore.multi.check(report));
    }
    for kind in kvstore.in_use() {
        let section = match kind {
            StoreKind::Inmemory | StoreKind::Multi => continue,
            StoreKind::Memberlist => chosen(MEMBERLIST),
            StoreKind::Consul => chosen(CONSUL),
            StoreKind::Etcd => chosen(ETCD),
        };
        section.check(origin_of, findings, |report| match kind {
            StoreKind::Consul => check_consul(kvstore, report),
            StoreKind::Etcd => kvstore.etcd.check(report),
            _ => config.memberlist.check(report),
        });
        if kind == StoreKind::Etcd {
            check_etcd_files(&kvstore.etcd, origin_of, findings);
        }
        if findings.concerns_below(section.path) {
            continue;
        }
        if let Err(problem) = try_store(config, kind) {
            findings.error(&origin_of(STORE), section.path, problem);
        }
    }
}

fn chosen(path: &str) -> Section<'_> {
    Section {
        path,
        needed_by: STORE,
    }
}

fn check_consul(kvstore: &KvStoreConfig, report: &mut Report<'_>) {
    let prefix = &kvstore.prefix;
    if let Some(reason) = kv_consul::refusal(prefix) {
        report.unusable(format!(
            "consul cannot hold keys that begin with {prefix:?}: {reason}; change kvstore.prefix"
        ));
    }
    kvstore.consul.check(report);
}

fn check_etcd_files(etcd: &EtcdConfig, origin_of: OriginOf<'_>, findings: &mut Findings) {
    if !etcd.tls_enabled {
        return;
    }
    for (name, file) in [
        ("tls_cert_path", &etcd.tls_cert_path),
        ("tls_key_path", &etcd.tls_key_path),
        ("tls_ca_path", &etcd.tls_ca_path),
    ] {
        let path = format!("{ETCD}.{name}");
        check_file(&path, &file_text(file), &origin_of(&path), findings);
    }
}

pub(super) fn file_text(file: &Option<PathBuf>) -> String {
    file.as_ref()
        .map(|file| file.display().to_string())
        .unwrap_or_default()
}

/// A sender that waits for a hanging downstream sends nothing else, and must not count as silent.
fn warn_of_slow_downstream(config: &Config, findings: &mut Findings) {
    let timeout = config.distributor.push.remote_timeout;
    let elections = &config.limits.elections;
    let (failover, backoff) = (elections.failover_timeout, elections.sender_backoff);
    let is_tracked = config.distributor.ha_tracker.enable_ha_tracker;
    if is_tracked && timeout >= failover.saturating_add(backoff) {
        findings.warnings.push(format!(
            "distributor.remote_timeout ({}) is not less than limits.ha_tracker_failover_timeout \
             ({}) and limits.ha_tracker_sender_backoff ({}) together: while the downstream hangs, \
             the elected replica waits for it and seems silent, so elections may change back and \
             forth; lower the first or raise the others",
            format_duration(timeout),
            format_duration(failover),
            format_duration(backoff),
        ));
    }
}

const PATH_PREFIX: &str = "server.http_path_prefix";

fn check_listeners(server: &ServerConfig, origin_of: OriginOf<'_>, findings: &mut Findings) {
    let paths = ["server.http_listen_port", "server.grpc_listen_port"];
    let same_address = match (server.http_listen_address, server.grpc_listen_address) {
        (Some(http), Some(grpc)) => http == grpc,
        _ => true,
    };
    let port = server.http_listen_port;
    if port != 0
        && port == server.grpc_listen_port
        && same_address
        && !paths.iter().any(|path| findings.concerns(path))
    {
        let problem = format!(
            "got {port}, which is also server.http_listen_port ({}); the two servers need \
             different ports",
            origin_of(paths[0])
        );
        findings.error(&set_one(&paths, origin_of), paths[1], problem);
    }
}

fn check_path_prefix(prefix: &str, origin_of: OriginOf<'_>, findings: &mut Findings) {
    let is_path = prefix.starts_with('/')
        && prefix
            .chars()
            .all(|letter| letter.is_ascii_graphic() && !"?#".contains(letter));
    if !prefix.is_empty() && !is_path {
        let problem = format!("got {prefix:?}; must be a path that begins with /, such as /mimir");
        findings.error(&origin_of(PATH_PREFIX), PATH_PREFIX, problem);
    }
}

fn check_server_tls(
    section: &str,
    tls: &ServerTls,
    origin_of: OriginOf<'_>,
    findings: &mut Findings,
) {
    let path = |name: &str| format!("{section}.{name}");
    // What is set of a file and its text, so that a message names that one.
    let either = |file: &Option<PathBuf>, has_text: bool, name: &str| match has_text {
        true => (path(name), "set".to_owned()),
        false => (path(&format!("{name}_file")), file_text(file)),
    };
    let (cert, cert_value) = either(&tls.cert_file, tls.cert.is_some(), "cert");
    let (key, key_value) = either(&tls.key_file, tls.key.is_some(), "key");
    let auth = path("client_auth_type");
    check_tls_pair(
        (&cert, &cert_value),
        (&key, &key_value),
        [&origin_of(&cert), &origin_of(&key)],
        findings,
    );
    for (name, file, has_text) in [
        ("cert", &tls.cert_file, tls.cert.is_some()),
        ("key", &tls.key_file, tls.key.is_some()),
        ("client_ca", &tls.client_ca_file, tls.client_ca.is_some()),
    ] {
        let of_file = path(&format!("{name}_file"));
        check_file(&of_file, &file_text(file), &origin_of(&of_file), findings);
        if has_text && file.is_some() {
            let text = path(name);
            let problem = format!("is set beside {of_file}; remove one of them");
            findings.error(&set_one(&[&text, &of_file], origin_of), &text, problem);
        }
    }
    if findings.concerns(&auth) {
        return;
    }
    let (ca, _) = either(&tls.client_ca_file, tls.client_ca.is_some(), "client_ca");
    let asks = tls.client_auth_type != ClientAuth::NoClientCert;
    if tls.client_auth_type.verifies() && !tls.has_authorities() {
        let problem = format!(
            "client certificates cannot be verified without CA certificates; set {ca}, or \
             NoClientCert"
        );
        findings.error(&origin_of(&auth), &auth, problem);
    } else if tls.has_authorities() && !asks {
        let problem = format!(
            "has no effect while client certificates are not requested; set {auth} to \
             RequireAndVerifyClientCert, or remove it"
        );
        findings.error(&origin_of(&ca), &ca, problem);
    } else if asks && !tls.has_certificate() {
        let problem = format!("client certificates need TLS; set {cert} and {key}");
        findings.error(&origin_of(&auth), &auth, problem);
    } else if tls.has_authorities() && !tls.client_auth_type.verifies() {
        findings.warnings.push(format!(
            "{ca} ({}) has no effect: {auth} is {}, which accepts any certificate; to verify it, set \
             VerifyClientCertIfGiven or RequireAndVerifyClientCert",
            origin_of(&ca),
            tls.client_auth_type.as_str(),
        ));
    }
}

/// A certificate needs its key, and the other way round. Each is a path and its value.
fn check_tls_pair(
    cert: (&str, &str),
    key: (&str, &str),
    origins: [&dyn Display; 2],
    findings: &mut Findings,
) {
    let (missing, present, origin) = match (cert.1.is_empty(), key.1.is_empty()) {
        (false, true) => (key.0, cert.0, origins[0]),
        (true, false) => (cert.0, key.0, origins[1]),
        _ => return,
    };
    findings.error(
        origin,
        present,
        format!("is set without {missing}; set both"),
    );
}

/// A file that is named must be readable now: finding out at the first request is too late.
pub(super) fn check_file(path: &str, file: &str, origin: &dyn Display, findings: &mut Findings) {
    if file.is_empty() {
        return;
    }
    let problem = match std::fs::metadata(file) {
        Ok(metadata) if metadata.is_dir() => "it is a directory".to_string(),
        Ok(_) => match std::fs::File::open(file) {
            Ok(_) => return,
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    findings.error(
        origin,
        path,
        format!("got {file:?}; must be a readable file: {problem}"),
    );
}

/// The rules of the limits, which the overrides of a tenant must keep too. `section` is where they
/// stand: `limits`, or `overrides.<tenant>`.
pub(super) fn check_limits(
    limits: &Limits,
    section: &str,
    origin_of: OriginOf<'_>,
    findings: &mut Findings,
) {
    let section = Section {
        path: section,
        needed_by: section,
    };
    section.check(origin_of, findings, |report| limits.elections.check(report));
    section.check(origin_of, findings, |report| limits.failover.check(report));
    section.check(origin_of, findings, |report| limits.push.check(report));
}
