//! Causes of refusals, and other problems of a sender's requests.

use std::time::Duration;

/// Why a request was refused, in whole or in part, or what is suspicious about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The body is not what its headers declare.
    Malformed,
    /// The tenant is not valid, or there are two.
    InvalidTenant,
    /// There is no tenant, while multitenancy is on.
    NoTenant,
    /// The credentials are missing or not known.
    Unauthenticated,
    /// The credentials are known, but not for this tenant.
    TenantNotAllowed,
    /// More than `distributor.max_recv_msg_size`.
    TooLarge,
    /// A content type or encoding that is not supported.
    UnsupportedMediaType,
    /// The body ended early, or came too slowly.
    BodyNotReceived,
    /// More than `limits.ingestion_rate`.
    RateLimited,
    /// A new cluster beyond `limits.ha_max_clusters`.
    TooManyHaClusters,
    /// A cluster or replica label that is too long.
    LabelValueTooLong,
    /// A cluster that the store cannot keep.
    HaClusterNotStorable,
    /// A cluster or replica label that is not UTF-8.
    HaLabelNotUtf8,
    /// A downstream refused the samples: 4xx.
    DownstreamRefused,
    /// Samples with neither HA label, while `limits.accept_ha_samples` is on: not deduplicated.
    NoHaLabels,
    /// Samples with one of the two HA labels: not deduplicated.
    OneHaLabel,
    /// For a minute and longer, no series of the tenant had both HA labels: nothing is deduplicated.
    NeverHaLabels,
}

impl Cause {
    /// The `cause` in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::InvalidTenant => "invalid_tenant",
            Self::NoTenant => "no_tenant",
            Self::Unauthenticated => "unauthenticated",
            Self::TenantNotAllowed => "tenant_not_allowed",
            Self::TooLarge => "too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::BodyNotReceived => "body_not_received",
            Self::RateLimited => "rate_limited",
            Self::TooManyHaClusters => "too_many_ha_clusters",
            Self::LabelValueTooLong => "label_value_too_long",
            Self::HaClusterNotStorable => "ha_cluster_not_storable",
            Self::HaLabelNotUtf8 => "ha_label_not_utf8",
            Self::DownstreamRefused => "downstream_refused",
            Self::NoHaLabels => "no_ha_labels",
            Self::OneHaLabel => "one_ha_label",
            Self::NeverHaLabels => "never_ha_labels",
        }
    }

    /// Whether it is about single series: the rest of the request may have been stored.
    pub(crate) fn is_of_series(self) -> bool {
        matches!(
            self,
            Self::TooManyHaClusters
                | Self::LabelValueTooLong
                | Self::HaClusterNotStorable
                | Self::HaLabelNotUtf8
        )
    }

    /// Whether samples are counted, which were stored, rather than requests, which were refused.
    pub fn counts_samples(self) -> bool {
        matches!(
            self,
            Self::NoHaLabels | Self::OneHaLabel | Self::NeverHaLabels
        )
    }

    /// Time between two lines about one tenant. A tenant may mix senders with and without HA labels
    /// on purpose and permanently, so it is logged less often.
    pub(crate) fn line_every(self) -> Duration {
        match self.counts_samples() {
            true => Duration::from_secs(10 * 60),
            false => Duration::from_secs(60),
        }
    }
}
