//! Metrics of tenants, with Mimir's names.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::{DISCARDED_REQUESTS, Discarded, ItemCounters, PER_REQUEST, Tenant, Tenants};
use crate::cause::Cause;
use crate::counters::AtomicHistogram;

/// Puts the counters on `/metrics`.
#[derive(Debug)]
pub(crate) struct TenantCollector(pub(crate) Arc<Tenants>);

/// Name, help and value of a counter that each tenant has.
type Row = (&'static str, &'static str, fn(&Tenant) -> &AtomicU64);

const COUNTERS: [Row; 9] = [
    (
        "cortex_distributor_received_requests",
        "The total number of received requests, excluding rejected and deduped requests",
        |tenant| &tenant.received_requests,
    ),
    (
        "cortex_distributor_received_samples",
        "The total number of received samples, excluding rejected and deduped samples",
        |tenant| &tenant.received.samples,
    ),
    (
        "cortex_distributor_received_exemplars",
        "The total number of received exemplars, excluding rejected and deduped exemplars",
        |tenant| &tenant.received.exemplars,
    ),
    (
        "cortex_distributor_received_metadata",
        "The total number of received metadata entries of remote write 1.0, excluding rejected",
        |tenant| &tenant.received.metadata,
    ),
    (
        "cortex_distributor_samples_in",
        "The total number of samples that have come in to the distributor, including rejected or \
         deduped samples",
        |tenant| &tenant.came_in.samples,
    ),
    (
        "cortex_distributor_exemplars_in",
        "The total number of exemplars that have come in to the distributor, including rejected or \
         deduped exemplars",
        |tenant| &tenant.came_in.exemplars,
    ),
    (
        "cortex_distributor_metadata_in",
        "The total number of metadata entries of remote write 1.0 that have come in to the \
         distributor, including rejected",
        |tenant| &tenant.came_in.metadata,
    ),
    (
        "cortex_distributor_non_ha_samples_received",
        "The total number of received samples for a user that has HA tracking turned on, but the \
         sample didn't contain both HA labels",
        |tenant| &tenant.non_ha_samples,
    ),
    (
        "cortex_distributor_mixed_requests",
        "The total number of requests whose first series decided for series with other HA labels",
        |tenant| &tenant.mixed.count,
    ),
];

/// Name, help and counter of what was discarded, by what it is.
type DiscardedRow = (&'static str, &'static str, fn(&ItemCounters) -> &AtomicU64);

const DISCARDED: [DiscardedRow; 3] = [
    (
        "cortex_discarded_samples",
        "The total number of samples that were discarded",
        |items| &items.samples,
    ),
    (
        "cortex_discarded_exemplars",
        "The total number of exemplars that were discarded",
        |items| &items.exemplars,
    ),
    (
        "cortex_discarded_metadata",
        "The total number of metadata entries that were discarded",
        |items| &items.metadata,
    ),
];

impl Collector for TenantCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        for (name, help, value) in COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (user, tenant) in &self.0.tenants.pin() {
                metric
                    .encode_family(&[("user", &**user)])?
                    .encode_counter::<NoLabelSet, _, u64>(&load(value(tenant)), None)?;
            }
        }
        self.encode_requests(encoder)?;
        self.encode_latest_samples(encoder)?;
        for (name, help, value) in DISCARDED {
            let counts = |tenant: &Tenant| tenant.discarded.each_ref().map(|all| load(value(all)));
            let reasons = Discarded::ALL.map(Discarded::cause);
            self.encode_discarded(encoder, (name, help), reasons, counts)?;
        }
        self.encode_discarded(
            encoder,
            (
                "cortex_discarded_requests",
                "The total number of requests of which nothing was taken",
            ),
            DISCARDED_REQUESTS,
            |tenant| tenant.discarded_requests.each_ref().map(load),
        )?;
        self.encode_per_request(
            encoder,
            "cortex_distributor_samples_per_request",
            "Number of samples per request before deduplication",
            |tenant| Some(&tenant.samples_per_request),
        )?;
        self.encode_per_request(
            encoder,
            "cortex_distributor_exemplars_per_request",
            "Number of exemplars per request before deduplication, of tenants that send any",
            |tenant| Some(&tenant.exemplars_per_request).filter(|counts| counts.sum() > 0.0),
        )
    }
}

impl TenantCollector {
    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            "cortex_distributor_requests_in",
            "The total number of requests that have come in to the distributor, including rejected \
             or deduped requests",
            None,
            MetricType::Counter,
        )?;
        for (user, tenant) in &self.0.tenants.pin() {
            for (version, counter) in [
                ("1.0", &tenant.requests_in_v1),
                ("2.0", &tenant.requests_in_v2),
            ] {
                metric
                    .encode_family(&[("user", &**user), ("version", version)])?
                    .encode_counter::<NoLabelSet, _, u64>(&load(counter), None)?;
            }
        }
        Ok(())
    }

    fn encode_latest_samples(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            "cortex_distributor_latest_seen_sample_timestamp_seconds",
            "Unix timestamp of the latest accepted sample of the user's last request",
            None,
            MetricType::Gauge,
        )?;
        for (user, tenant) in &self.0.tenants.pin() {
            let latest_ms = tenant.latest_sample_ms.load(Ordering::Relaxed);
            if latest_ms > 0 {
                metric
                    .encode_family(&[("user", &**user)])?
                    .encode_gauge(&(latest_ms as f64 / 1000.0))?;
            }
        }
        Ok(())
    }

    /// Only existing series: most tenants have none of them.
    fn encode_discarded<const N: usize>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help): (&str, &str),
        reasons: [Cause; N],
        counts: impl Fn(&Tenant) -> [u64; N],
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (user, tenant) in &self.0.tenants.pin() {
            for (reason, count) in reasons.iter().zip(counts(tenant)) {
                if count > 0 {
                    metric
                        .encode_family(&[("user", &**user), ("reason", reason.name())])?
                        .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
                }
            }
        }
        Ok(())
    }

    fn encode_per_request<const N: usize>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        histogram: impl Fn(&Tenant) -> Option<&AtomicHistogram<N>>,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (user, tenant) in &self.0.tenants.pin() {
            if let Some(histogram) = histogram(tenant) {
                histogram.encode(metric.encode_family(&[("user", &**user)])?, PER_REQUEST)?;
            }
        }
        Ok(())
    }
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;
    use remote_write::Version;

    use super::*;
    use crate::tenants::Items;

    fn items(samples: u64, exemplars: u64, metadata: u64) -> Items {
        Items {
            samples,
            exemplars,
            metadata,
        }
    }

    #[tokio::test]
    async fn each_counter_has_its_name() {
        let tenants = Arc::new(Tenants::new());
        let tenant = tenants.admit("t");
        tenant.count_request(Version::V1);
        tenant.count_request(Version::V2);
        tenant.count_in(items(2000, 30, 5));
        tenant.count_in(items(7, 0, 0));
        tenant.count_received(items(1000, 20, 5));
        tenant.discard(Discarded::RateLimited, items(4, 3, 2));
        tenant.discard(Discarded::TooManyHaClusters, items(6, 0, 0));
        tenant.discard_request(Cause::Malformed);
        tenant.discard_request(Cause::DownstreamRefused);
        tenants.admit("idle");
        let mut registry = Registry::default();
        registry.register_collector(Box::new(TenantCollector(tenants)));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            r#"cortex_distributor_requests_in_total{user="t",version="2.0"} 1"#,
            r#"cortex_distributor_received_requests_total{user="t"} 1"#,
            r#"cortex_distributor_received_samples_total{user="t"} 1000"#,
            r#"cortex_distributor_received_exemplars_total{user="t"} 20"#,
            r#"cortex_distributor_received_metadata_total{user="t"} 5"#,
            r#"cortex_distributor_samples_in_total{user="t"} 2007"#,
            r#"cortex_distributor_exemplars_in_total{user="t"} 30"#,
            r#"cortex_distributor_metadata_in_total{user="t"} 5"#,
            r#"cortex_distributor_exemplars_in_total{user="idle"} 0"#,
            r#"cortex_discarded_samples_total{user="t",reason="rate_limited"} 4"#,
            r#"cortex_discarded_samples_total{user="t",reason="too_many_ha_clusters"} 6"#,
            r#"cortex_discarded_exemplars_total{user="t",reason="rate_limited"} 3"#,
            r#"cortex_discarded_metadata_total{user="t",reason="rate_limited"} 2"#,
            r#"cortex_discarded_requests_total{user="t",reason="malformed"} 1"#,
            r#"cortex_distributor_samples_per_request_bucket{le="10.0",user="t"} 1"#,
            r#"cortex_distributor_samples_per_request_bucket{le="1000.0",user="t"} 1"#,
            r#"cortex_distributor_samples_per_request_bucket{le="10000.0",user="t"} 2"#,
            r#"cortex_distributor_samples_per_request_sum{user="t"} 2007.0"#,
            r#"cortex_distributor_exemplars_per_request_count{user="t"} 2"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let of = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!(of("cortex_discarded_requests_total{"), 1);
        assert_eq!(of("cortex_discarded_exemplars_total{"), 1);
        // Nothing was accepted, or no exemplar came.
        assert_eq!(
            of("cortex_distributor_latest_seen_sample_timestamp_seconds{"),
            0
        );
        assert_eq!(of("cortex_distributor_exemplars_per_request_count{"), 1);
    }
}
