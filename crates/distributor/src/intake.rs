//! The entry of push requests for both servers.

use std::sync::Arc;

use credentials::Identity;
use distributor_config::{Config, TenantLimits};
use http::HeaderMap;
use ingest::{
    Cause, Held, InFlightRequest, PushAnswer, PushBody, PushRequest, Pusher, Rejection, Sender,
    TENANT, Tenancy,
};
use remote_write::Version;

use crate::access::Access;
use crate::failover;

/// The push path, and the rules for tenants.
pub(crate) struct Intake {
    pub(crate) pusher: Arc<Pusher>,
    /// `distributor.accept_unknown_content_types`.
    pub(crate) accepts_unknown_content_types: bool,
    tenancy: Tenancy,
    limits: TenantLimits,
    access: Arc<Access>,
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
    pub(crate) fn new(
        pusher: Arc<Pusher>,
        config: &Config,
        limits: TenantLimits,
        access: Arc<Access>,
    ) -> Self {
        Self {
            pusher,
            tenancy: match config.multitenancy_enabled {
                true => Tenancy::Many,
                false => Tenancy::One(config.no_auth_tenant.clone()),
            },
            accepts_unknown_content_types: config.distributor.push.accept_unknown_content_types,
            limits,
            access,
        }
    }

    /// Whose request this is; `None` if no credentials are needed.
    ///
    /// # Errors
    /// Credentials are needed, and are missing or not known; for good.
    pub(crate) fn identify(&self, headers: &HeaderMap) -> Result<Option<Identity>, Rejection> {
        self.access.sender(headers).map_err(|denied| {
            let problem = format!(
                "{denied}; set basic_auth or authorization in the sender's remote_write, as in \
                 senders_credentials_file"
            );
            Rejection::refused(Cause::Unauthenticated, problem)
        })
    }

    /// The tenant of a request with these headers, or metadata, for which `sender` may send. It is the
    /// sender's own if it has a single one and the request names none.
    pub(crate) fn tenant<'a>(
        &'a self,
        sender: Option<&'a Identity>,
        headers: &'a HeaderMap,
    ) -> Result<&'a str, Rejection> {
        let only = sender.and_then(Identity::only_tenant);
        if let (Some(only), Tenancy::Many) = (only, &self.tenancy)
            && !headers.contains_key(TENANT)
        {
            return Ok(only);
        }
        let tenant = self.tenancy.tenant(headers)?;
        match sender {
            Some(sender) if !sender.may_send_for(tenant) => {
                let problem = format!(
                    "{:?} may not send samples of the tenant {tenant:?}; its tenants are {}",
                    sender.name,
                    sender.tenants.join(", ")
                );
                Err(Rejection::refused(Cause::TenantNotAllowed, problem))
            }
            _ => Ok(tenant),
        }
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
            is_lossless: failover::is_lossless(&limits),
            body,
            headers,
            held,
            in_flight,
        };
        self.pusher.push(request).await
    }
}
