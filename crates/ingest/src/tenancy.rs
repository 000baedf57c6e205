//! Whose requests there are, and which of them one is.

use http::{HeaderMap, HeaderName};

use crate::answer::Rejection;
use crate::cause::Cause;

/// The header, or metadata, that names the tenant.
pub const TENANT: HeaderName = HeaderName::from_static("x-scope-orgid");

/// Whose requests there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenancy {
    /// Those of whom a request names.
    Many,
    /// All of one tenant, whatever they name.
    One(String),
}

impl Tenancy {
    /// The tenant of a request with these headers, or metadata.
    ///
    /// # Errors
    /// None is named, or one that cannot be; for good.
    pub fn tenant<'a>(&'a self, headers: &'a HeaderMap) -> Result<&'a str, Rejection> {
        if let Self::One(tenant) = self {
            return Ok(tenant);
        }
        let mut given = headers.get_all(TENANT).iter();
        let Some(header) = given.next().filter(|header| !header.is_empty()) else {
            return Err(Rejection::refused(
                Cause::NoTenant,
                "no org id: the header X-Scope-OrgID that names the tenant is missing; set it in the \
                 sender, or turn multitenancy off (multitenancy_enabled: false)",
            ));
        };
        let invalid = |problem: String| {
            Rejection::refused(Cause::InvalidTenant, format!("{problem}; fix the sender"))
        };
        let name = header.to_str().map_err(|_| {
            invalid(
                "the header X-Scope-OrgID contains other than visible ASCII characters".to_owned(),
            )
        })?;
        ha_tracker::validate_tenant(name)
            .map_err(|problem| invalid(format!("header X-Scope-OrgID: {problem}")))?;
        if given.next().is_some() {
            return Err(invalid(
                "the header X-Scope-OrgID is there more than once: a request belongs to one tenant, \
                 and a proxy on the way may have taken another one than this instance would"
                    .to_owned(),
            ));
        }
        Ok(name)
    }
}
