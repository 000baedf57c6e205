//! Where both servers hand in push requests.

use std::sync::Arc;

use distributor_config::{self as config, Config, Limits, TenantLimits};
use http::HeaderMap;
use ingest::{
    Credentials, DownstreamConfig, DownstreamError, Downstreams, Held, InFlightRequest,
    IngestConfig, PushAnswer, PushBody, PushRequest, Pusher, Rejection, Sender, Tenancy,
};
use prometheus_client::registry::Registry;
use remote_write::Version;

use crate::tls;

/// The push path, and whose requests it takes.
pub(crate) struct Intake {
    pub(crate) pusher: Arc<Pusher>,
    tenancy: Tenancy,
    limits: TenantLimits,
}

/// A request whose body is there, with what was taken for it.
pub(crate) struct Received<'a> {
    pub(crate) version: Version,
    pub(crate) body: PushBody,
    pub(crate) headers: HeaderMap,
    pub(crate) held: Held<'a>,
    pub(crate) in_flight: InFlightRequest<'a>,
}

impl Intake {
    pub(crate) fn new(pusher: Arc<Pusher>, config: &Config, limits: TenantLimits) -> Self {
        Self {
            pusher,
            tenancy: match config.multitenancy_enabled {
                true => Tenancy::Many,
                false => Tenancy::One(config.no_auth_tenant.clone()),
            },
            limits,
        }
    }

    /// The tenant of a request with these headers, or metadata.
    pub(crate) fn tenant<'a>(&'a self, headers: &'a HeaderMap) -> Result<&'a str, Rejection> {
        self.tenancy.tenant(headers)
    }

    /// Whose clusters there can be: those whose samples are deduplicated.
    pub(crate) fn may_be_tracked(&self, tenant: &str) -> Result<(), String> {
        ha_tracker::validate_tenant(tenant)?;
        if let Tenancy::One(only) = &self.tenancy
            && tenant != only
        {
            return Err(format!("multitenancy is off; there is {only:?} only"));
        }
        match self.limits.limits(tenant).accept_ha_samples {
            true => Ok(()),
            false => Err("its accept_ha_samples is false".to_owned()),
        }
    }

    /// Deduplicates and forwards one request of a sender whose tenant is known.
    pub(crate) async fn push(&self, sender: &Sender, received: Received<'_>) -> PushAnswer {
        let limits = self.limits.limits(&sender.tenant);
        let Received {
            version,
            body,
            headers,
            held,
            in_flight,
        } = received;
        let request = PushRequest {
            tenant: &sender.tenant,
            client: sender.client(),
            version,
            limits: tenant_limits(&limits),
            body,
            headers,
            held,
            in_flight,
        };
        self.pusher.push(request).await
    }
}

fn tenant_limits(limits: &Limits) -> ingest::TenantLimits<'_> {
    ingest::TenantLimits {
        accept_ha_samples: limits.accept_ha_samples,
        ha_cluster_label: &limits.ha_cluster_label,
        ha_replica_label: &limits.ha_replica_label,
        ingestion_rate: limits.ingestion_rate,
        ingestion_burst_size: limits.ingestion_burst_size,
    }
}

/// The configuration in the terms of the push path.
pub(crate) fn ingest_config(config: &Config) -> IngestConfig {
    let distributor = &config.distributor;
    let instance = &distributor.instance_limits;
    IngestConfig {
        max_recv_msg_size: distributor.max_recv_msg_size,
        remote_timeout: distributor.remote_timeout,
        max_inflight_push_requests: instance.max_inflight_push_requests,
        max_inflight_push_requests_bytes: instance.max_inflight_push_requests_bytes,
        max_ingestion_rate: instance.max_ingestion_rate,
    }
}

/// Clients for the downstreams that are configured. Reads certificates; connects to nothing.
pub(crate) fn downstreams(
    config: &Config,
    registry: &mut Registry,
) -> Result<Downstreams, DownstreamError> {
    let configs: Result<Vec<_>, _> = config
        .distributor
        .downstream
        .iter()
        .map(downstream_config)
        .collect();
    Downstreams::new(&configs?, registry)
}

fn downstream_config(
    config: &config::DownstreamConfig,
) -> Result<DownstreamConfig, DownstreamError> {
    let tls = tls::client_config(&config.tls)
        .map_err(|error| DownstreamError::new(&config.name, "tls", error))?;
    let headers = config.headers.iter();
    Ok(DownstreamConfig {
        name: config.name.clone(),
        url: config.url.expose().to_owned(),
        remote_timeout: config.remote_timeout,
        headers: headers
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect(),
        tenant_header: config.tenant_header.clone(),
        credentials: credentials(config),
        tls,
        max_concurrency: config.max_concurrency,
    })
}

/// At most one of them is configured.
fn credentials(config: &config::DownstreamConfig) -> Credentials {
    if let Some(basic) = &config.basic_auth {
        return Credentials::Basic {
            username: basic.username.clone(),
            password: basic.password.expose().to_owned(),
        };
    }
    if let Some(token) = &config.bearer_token {
        return Credentials::Bearer(token.expose().to_owned());
    }
    match &config.bearer_token_file {
        Some(path) => Credentials::BearerFile(path.clone()),
        None => Credentials::None,
    }
}
