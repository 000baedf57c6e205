//! HA pairs of real Prometheus servers that write through the distributor to a real Prometheus.
//!
//! What the third one stores is compared, scrape by scrape, with what each of the pair holds in its
//! own storage.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod failover;
mod history;
mod kinds;
mod outages;
mod pair;
mod relay;

use e2e::{PrometheusVersion, Version};
use pair::Setup;

const V1: Setup = Setup {
    senders: PrometheusVersion::V2,
    version: Version::V1,
    receiver: PrometheusVersion::V2,
};

/// As [`V1`], to a receiver of today.
const V1_TO_3: Setup = Setup {
    receiver: PrometheusVersion::V3,
    ..V1
};

/// What servers of today write unless they are told otherwise.
const V1_FROM_3: Setup = Setup {
    senders: PrometheusVersion::V3,
    ..V1_TO_3
};

const V2: Setup = Setup {
    senders: PrometheusVersion::V3,
    version: Version::V2,
    receiver: PrometheusVersion::V3,
};

#[tokio::test]
async fn every_kind_of_data_arrives_once_with_1_0() {
    kinds::every_kind_of_data_arrives_once(V1).await;
}

#[tokio::test]
async fn every_kind_of_data_arrives_once_with_1_0_of_today() {
    kinds::every_kind_of_data_arrives_once(V1_FROM_3).await;
}

#[tokio::test]
async fn every_kind_of_data_arrives_once_with_2_0() {
    kinds::every_kind_of_data_arrives_once(V2).await;
}

#[tokio::test]
async fn the_other_takes_over_and_stays_with_1_0() {
    failover::the_other_takes_over_and_stays(V1_TO_3).await;
}

#[tokio::test]
async fn the_other_takes_over_and_stays_with_2_0() {
    failover::the_other_takes_over_and_stays(V2).await;
}

#[tokio::test]
async fn outages_of_downstream_and_distributor_lose_nothing_with_1_0() {
    outages::outages_of_downstream_and_distributor_lose_nothing(V1).await;
}

#[tokio::test]
async fn outages_of_downstream_and_distributor_lose_nothing_with_2_0() {
    outages::outages_of_downstream_and_distributor_lose_nothing(V2).await;
}
