//! Limits of the instance, with Mimir's names.

/// A limit of the instance, which other requests of other tenants may have used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceLimit {
    /// `distributor.instance_limits.max_inflight_push_requests`.
    InflightPushRequests,
    /// `distributor.instance_limits.max_inflight_push_requests_bytes`.
    InflightPushRequestsBytes,
    /// `distributor.instance_limits.max_ingestion_rate`.
    IngestionRate,
}

impl InstanceLimit {
    pub(crate) const ALL: [Self; 3] = [
        Self::InflightPushRequests,
        Self::InflightPushRequestsBytes,
        Self::IngestionRate,
    ];

    /// The last part of its setting's name.
    pub(crate) fn setting(self) -> &'static str {
        match self {
            Self::InflightPushRequests => "max_inflight_push_requests",
            Self::InflightPushRequestsBytes => "max_inflight_push_requests_bytes",
            Self::IngestionRate => "max_ingestion_rate",
        }
    }

    /// The `reason` of what it refuses, as Mimir derives it from the error's id.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::InflightPushRequests => "distributor_max_inflight_push_requests",
            Self::InflightPushRequestsBytes => "distributor_max_inflight_push_requests_bytes",
            Self::IngestionRate => "distributor_max_ingestion_rate",
        }
    }

    /// Mimir's id of the error.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::InflightPushRequests => "err-mimir-distributor-max-inflight-push-requests",
            Self::InflightPushRequestsBytes => {
                "err-mimir-distributor-max-inflight-push-requests-bytes"
            }
            Self::IngestionRate => "err-mimir-distributor-max-ingestion-rate",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_mimirs_ids() {
        for limit in InstanceLimit::ALL {
            let reason = limit.id().strip_prefix("err-mimir-").unwrap();
            assert_eq!(limit.reason(), reason.replace('-', "_"));
            assert!(limit.id().ends_with(&limit.setting().replace('_', "-")));
        }
    }
}
