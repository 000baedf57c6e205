//! Warnings about configurations that work, but are probably not intended: complete sentences that
//! say what to set.

use ha_failover::FailoverMode;
use kv_consul::ConsulConfig;
use kv_etcd::EtcdConfig;
use settings::format_duration;

use super::errors::Findings;
use super::model::{Config, StoreKind};
use super::rules::OriginOf;
use super::runtime::RuntimeSnapshot;

/// Warns of everything that deserves it.
pub(super) fn warn(config: &Config, origin_of: OriginOf<'_>, findings: &mut Findings) {
    let mut sentences = Vec::new();
    sentences.extend(no_downstream(config));
    sentences.extend(long_waits(config));
    if config.distributor.ha_tracker.enable_ha_tracker {
        sentences.extend(unused_stores(config));
        sentences.extend(nothing_to_join(config));
    } else {
        sentences.extend(no_tracker(config, origin_of));
    }
    findings.warnings.extend(sentences);
}

/// A replica that was told to wait sends nothing meanwhile, for longer than senders wait by themselves.
fn long_waits(config: &Config) -> Option<String> {
    let header = &config.distributor.push.retry_after_header;
    let elections = &config.limits.elections;
    let (failover, backoff) = (elections.failover_timeout, elections.sender_backoff);
    let is_tracked = config.distributor.ha_tracker.enable_ha_tracker;
    (header.enabled && is_tracked && header.max_backoff >= failover.saturating_add(backoff)).then(
        || {
            format!(
                "distributor.retry_after_header.max_backoff ({}) is not less than \
             limits.ha_tracker_failover_timeout ({}) and limits.ha_tracker_sender_backoff ({}) \
             together: an elected replica that is told to wait so long counts as silent, and \
             elections may change back and forth; lower the first or raise the others",
                format_duration(header.max_backoff),
                format_duration(failover),
                format_duration(backoff),
            )
        },
    )
}

fn no_downstream(config: &Config) -> Option<String> {
    config.distributor.push.downstream.is_empty().then(|| {
        "no downstream is configured (distributor.downstream): accepted samples are counted and \
         DROPPED; set the URL of a remote-write backend"
            .to_owned()
    })
}

/// A section with values other than the defaults; a dump of Mimir's configuration has all sections.
fn unused_stores(config: &Config) -> Vec<String> {
    let kvstore = &config.distributor.ha_tracker.kvstore;
    let in_use = kvstore.in_use();
    let sections = [
        (StoreKind::Consul, kvstore.consul != ConsulConfig::default()),
        (StoreKind::Etcd, kvstore.etcd != EtcdConfig::default()),
    ];
    let unused = sections
        .into_iter()
        .filter(|(kind, is_set)| *is_set && !in_use.contains(kind));
    unused
        .map(|(kind, _)| {
            format!(
                "distributor.ha_tracker.kvstore.{} is set, but not used: kvstore.store is {}, so \
                 elections are not shared with what uses that store; set kvstore.store, or remove \
                 the section",
                kind.as_str(),
                kvstore.store.as_str(),
            )
        })
        .collect()
}

fn nothing_to_join(config: &Config) -> Option<String> {
    let kvstore = &config.distributor.ha_tracker.kvstore;
    let is_alone = kvstore.in_use().contains(&StoreKind::Memberlist)
        && config.memberlist.join_members.is_empty();
    is_alone.then(|| {
        "memberlist.join_members is empty: unless others join it, this distributor elects alone, and \
         a second one beside it would accept the other replica; name the other distributors"
            .to_owned()
    })
}

fn no_tracker(config: &Config, origin_of: OriginOf<'_>) -> Option<String> {
    config.limits.push.accept_ha_samples.then(|| {
        format!(
            "limits.accept_ha_samples is true ({}), but the HA tracker is off: nothing is \
             deduplicated; set distributor.ha_tracker.enable_ha_tracker",
            origin_of("limits.accept_ha_samples")
        )
    })
}

/// Warns of overrides that want failovers without loss where they are not possible.
pub(super) fn lossless_tenants(config: &Config, runtime: &RuntimeSnapshot) -> Option<String> {
    let tracker = &config.distributor.ha_tracker;
    let problem = tracker.kvstore.lossless_refusal()?;
    let mut lossless: Vec<&str> = runtime
        .tenants()
        .filter(|(_, limits)| limits.failover.mode == FailoverMode::Lossless)
        .map(|(tenant, _)| tenant)
        .collect();
    lossless.sort_unstable();
    let first = lossless.first().filter(|_| tracker.enable_ha_tracker)?;
    Some(format!(
        "overrides.{first}.ha_failover_mode: lossless has no effect, failovers are as with classic: \
         {problem}"
    ))
}

/// Warns of what the overrides of tenants and `config` say together.
pub(super) fn of_tenants(config: &Config, runtime: &RuntimeSnapshot) -> Option<String> {
    let mut accepting: Vec<&str> = runtime
        .tenants()
        .filter(|(_, limits)| limits.push.accept_ha_samples)
        .map(|(tenant, _)| tenant)
        .collect();
    accepting.sort_unstable();
    let is_on = config.distributor.ha_tracker.enable_ha_tracker;
    match accepting.as_slice() {
        [] if is_on && !config.limits.push.accept_ha_samples => Some(
            "the HA tracker is on, but accept_ha_samples is true for no tenant: nothing is \
             deduplicated; set it in limits, or in the overrides of a tenant"
                .to_owned(),
        ),
        [first, others @ ..] if !is_on => {
            let more = match others.len() {
                0 => String::new(),
                count => format!(" and {count} more"),
            };
            Some(format!(
                "overrides.{first}{more}: accept_ha_samples is true, but the HA tracker is off: nothing \
                 is deduplicated; set distributor.ha_tracker.enable_ha_tracker"
            ))
        }
        _ => None,
    }
}
