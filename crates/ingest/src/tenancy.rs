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
        let names = header.to_str().map_err(|_| {
            invalid(
                "the header X-Scope-OrgID must contain only visible ASCII characters".to_owned(),
            )
        })?;
        let name =
            one_of(names).map_err(|problem| invalid(format!("header X-Scope-OrgID: {problem}")))?;
        if given.next().is_some() {
            return Err(invalid(
                "the header X-Scope-OrgID occurs more than once: a request belongs to one \
                 tenant, and a proxy may have used another value than this instance would"
                    .to_owned(),
            ));
        }
        Ok(name)
    }
}

/// The tenant that a header names. As in dskit, `a|a` names `a`, and what follows a colon says more
/// about the request, not about the tenant.
fn one_of(names: &str) -> Result<&str, String> {
    let mut tenants = names
        .split('|')
        .map(|name| name.split_once(':').map_or(name, |(tenant, _)| tenant));
    let first = tenants.next().unwrap_or_default();
    ha_tracker::validate_tenant(first)?;
    for other in tenants {
        ha_tracker::validate_tenant(other)?;
        if other != first {
            return Err(format!(
                "{first:?} and {other:?} are two tenants (multiple org IDs present): a push belongs \
                 to one"
            ));
        }
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_name_tenants_as_in_mimir() {
        let longest = "x".repeat(150);
        for (header, tenant) in [
            ("a", "a"),
            ("a|a", "a"),
            ("a|a|a", "a"),
            ("a:sub", "a"),
            ("a:", "a"),
            ("a:one|a:two", "a"),
            ("a:b:c", "a"),
            ("A!b_c.d*e'f(g)-1", "A!b_c.d*e'f(g)-1"),
            ("...", "..."),
            (longest.as_str(), longest.as_str()),
        ] {
            assert_eq!(one_of(header).as_deref(), Ok(tenant), "{header}");
        }
        let too_long = "x".repeat(151);
        for (header, problem) in [
            ("a|b", "multiple org IDs"),
            ("a:x|b:x", "multiple org IDs"),
            ("a|", "empty"),
            ("|a", "empty"),
            (":sub", "empty"),
            (".", "reserved"),
            ("..", "reserved"),
            ("..:sub", "reserved"),
            ("__mimir_cluster", "reserved"),
            ("a b", "contains"),
            ("a/b", "contains"),
            (too_long.as_str(), "151 bytes"),
        ] {
            let found = one_of(header).unwrap_err();
            assert!(found.contains(problem), "{header}: {found}");
        }
    }
}
