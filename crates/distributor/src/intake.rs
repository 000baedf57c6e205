//! The entry of push requests for both servers.

use std::sync::Arc;

use distributor_config::{Config, TenantLimits};
use http::HeaderMap;
use ingest::{
    Held, InFlightRequest, PushAnswer, PushBody, PushRequest, Pusher, Rejection, Sender, Tenancy,
};
use remote_write::Version;

/// The push path, and the rules for tenants.
pub(crate) struct Intake {
    pub(crate) pusher: Arc<Pusher>,
    /// `distributor.accept_unknown_content_types`.
    pub(crate) accepts_unknown_content_types: bool,
    tenancy: Tenancy,
    limits: TenantLimits,
}

/// A request whose body has arrived, with its resources.
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
            accepts_unknown_content_types: config.distributor.push.accept_unknown_content_types,
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
            return Err(format!("multitenancy is off; the only tenant is {only:?}"));
        }
        match self.limits.limits(tenant).push.accept_ha_samples {
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
            limits: &limits.push,
            body,
            headers,
            held,
            in_flight,
        };
        self.pusher.push(request).await
    }
}
