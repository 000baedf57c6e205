//! [`Pair`]: two Prometheus servers that scrape the same, the distributor, and a third that stores.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e2e::{
    Distributor, HaTracker, Labels, Metrics, Prometheus, PrometheusConfig, PrometheusVersion,
    RemoteWrite, SHORT, Sink, Target, TargetExemplar, TargetHistogram, Version, wait_for,
};

use crate::history::{Run, check, points, runs};
use crate::relay::Relay;

/// The cluster of both members.
pub(crate) const CLUSTER: &str = "pair";
/// The members' replica names.
pub(crate) const REPLICAS: [&str; 2] = ["a", "b"];
/// `ha_tracker_failover_timeout`.
pub(crate) const FAILOVER: Duration = Duration::from_secs(3);
/// `ha_tracker_update_timeout`.
pub(crate) const UPDATE: Duration = Duration::from_secs(1);
/// A gauge whose every value was read by one scrape only.
pub(crate) const SCRAPE_NUMBER: &str = "scrape_number";

/// Which servers, and what they speak.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    /// The two that scrape.
    pub(crate) senders: PrometheusVersion,
    /// What they write.
    pub(crate) version: Version,
    /// The one that stores.
    pub(crate) receiver: PrometheusVersion,
}

impl Setup {
    /// The tenant; 2.42 cannot name one.
    pub(crate) fn tenant(self) -> &'static str {
        match self.senders {
            PrometheusVersion::V2 => "anonymous",
            PrometheusVersion::V3 => "team-a",
        }
    }

    fn distributor(self, downstreams: &[String]) -> String {
        let multitenancy = self.senders == PrometheusVersion::V3;
        let list = downstreams.iter().enumerate();
        let list: String = list
            .map(|(index, url)| format!("\n    - {{name: d{index}, url: \"{url}\"}}"))
            .collect();
        format!(
            "\
multitenancy_enabled: {multitenancy}
distributor:
  ha_tracker:
    enable_ha_tracker: true
    kvstore: {{store: inmemory}}
  downstream:{list}
limits:
  accept_ha_samples: true
  ha_tracker_update_timeout: {}ms
  ha_tracker_update_timeout_jitter_max: 0s
  ha_tracker_failover_timeout: {}ms
",
            UPDATE.as_millis(),
            FAILOVER.as_millis()
        )
    }
}

/// One of the pair, and its way to the distributor.
#[derive(Debug)]
pub(crate) struct Member {
    /// The server.
    pub(crate) server: Prometheus,
    /// Its network.
    pub(crate) relay: Relay,
}

impl Member {
    async fn start(setup: Setup, index: usize, target: &Target, distributor: &Distributor) -> Self {
        let address = distributor.url("").replace("http://", "").parse().unwrap();
        let relay = Relay::start(address).await;
        let url = format!("http://{}/api/v1/push", relay.address());
        let tenant = match setup.senders {
            PrometheusVersion::V2 => "",
            PrometheusVersion::V3 => setup.tenant(),
        };
        let write = RemoteWrite::new(&url, setup.version, tenant);
        let name = REPLICAS[index];
        let external = [("cluster", CLUSTER), ("__replica__", name)];
        let config = PrometheusConfig::sender(setup.senders, &external, target.address(), write);
        Self {
            server: Prometheus::start(name, &config).await,
            relay,
        }
    }

    /// What it thinks of its remote write.
    pub(crate) async fn queue(&self) -> Result<Queue, String> {
        Ok(Queue::new(&self.server.metrics().await?))
    }
}

/// A sender's own view of its remote write. It looks empty until the first request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Queue {
    /// Of any kind, metadata included: refused for good.
    pub(crate) failed: f64,
    /// Of any kind: never sent.
    pub(crate) dropped: f64,
    /// Samples, histograms and exemplars sent again.
    pub(crate) retried: f64,
    /// Unix milliseconds, rounded down to seconds: everything up to here has been acknowledged.
    pub(crate) acknowledged: i64,
}

impl Queue {
    fn new(metrics: &Metrics) -> Self {
        let sum = |kinds: &[&str], what: &str| {
            let sums = kinds.iter().map(|kind| {
                let name = format!("prometheus_remote_storage_{kind}_{what}_total");
                metrics.sum(&name, &[])
            });
            sums.sum()
        };
        let sent = "prometheus_remote_storage_queue_highest_sent_timestamp_seconds";
        Self {
            failed: sum(
                &["samples", "histograms", "exemplars", "metadata"],
                "failed",
            ),
            dropped: sum(&["samples", "histograms", "exemplars"], "dropped"),
            retried: sum(&["samples", "histograms", "exemplars"], "retried"),
            acknowledged: (metrics.sum(sent, &[]) * 1000.0) as i64,
        }
    }

    /// Nothing of it was lost.
    pub(crate) fn assert_lossless(self, who: &str) {
        assert_eq!((self.failed, self.dropped), (0.0, 0.0), "{who}: {self:?}");
    }
}

/// All that a scenario needs.
#[derive(Debug)]
pub(crate) struct Pair {
    /// Which servers.
    pub(crate) setup: Setup,
    /// What both members scrape.
    pub(crate) target: Target,
    /// The distributor between.
    pub(crate) distributor: Distributor,
    /// The pair.
    pub(crate) members: [Member; 2],
    /// The server that stores.
    pub(crate) receiver: Prometheus,
}

impl Pair {
    /// Starts everything, `sink` being a second downstream if given.
    pub(crate) async fn start(setup: Setup, sink: Option<&Sink>) -> Self {
        let target = full_target().await;
        let config = PrometheusConfig::receiver(setup.receiver);
        let receiver = Prometheus::start("receiver", &config).await;
        let downstreams: Vec<String> = [receiver.write_url()]
            .into_iter()
            .chain(sink.map(Sink::url))
            .collect();
        let distributor = Distributor::start("distributor", &setup.distributor(&downstreams)).await;
        let (a, b) = tokio::join!(
            Member::start(setup, 0, &target, &distributor),
            Member::start(setup, 1, &target, &distributor)
        );
        Self {
            setup,
            target,
            distributor,
            members: [a, b],
            receiver,
        }
    }

    /// The index of the elected member.
    ///
    /// # Errors
    /// When there is none, or the page is not what it should be.
    pub(crate) async fn elected(&self) -> Result<usize, String> {
        let page: HaTracker = self.distributor.page("/distributor/ha_tracker").await?;
        let [one] = page.elected.as_slice() else {
            return Err(format!("not one cluster: {page:?}"));
        };
        if one.tenant != self.setup.tenant() || one.cluster != CLUSTER {
            return Err(format!("another cluster: {page:?}"));
        }
        let index = REPLICAS.iter().position(|name| one.replica == **name);
        index.ok_or_else(|| format!("an unknown replica: {page:?}"))
    }

    /// Waits for an election.
    pub(crate) async fn wait_elected(&self) -> usize {
        wait_for("an election", SHORT, || self.elected()).await
    }

    /// Waits until this member is elected.
    pub(crate) async fn wait_elected_is(&self, index: usize) {
        wait_for(
            &format!("{} to be elected", REPLICAS[index]),
            SHORT,
            || async {
                match self.elected().await? {
                    elected if elected == index => Ok(()),
                    other => Err(format!("{} is", REPLICAS[other])),
                }
            },
        )
        .await;
    }

    /// `cortex_ha_tracker_elected_replica_changes_total`.
    pub(crate) async fn changes(&self) -> f64 {
        let metrics = self.distributor.metrics().await.unwrap();
        let labels = [("user", self.setup.tenant()), ("cluster", CLUSTER)];
        let name = "cortex_ha_tracker_elected_replica_changes_total";
        metrics.get(name, &labels).unwrap()
    }

    /// `cortex_distributor_deduped_samples_total`.
    pub(crate) async fn deduplicated(&self) -> f64 {
        let metrics = self.distributor.metrics().await.unwrap();
        let labels = [("user", self.setup.tenant()), ("cluster", CLUSTER)];
        metrics.sum("cortex_distributor_deduped_samples_total", &labels)
    }

    /// Waits until the receiver holds, of every series, the scrapes of the `expected` members in
    /// this order: once each, none missing within a member's time, and all of the last one's up to
    /// `until` (Unix milliseconds, may lie ahead). Hands over the runs of [`SCRAPE_NUMBER`].
    pub(crate) async fn wait_history(&self, expected: &[usize], until: i64) -> Vec<Run> {
        let what = format!("a history of {expected:?} until {until}");
        wait_for(&what, SHORT, || self.history(expected, until)).await
    }

    /// What [`Pair::wait_history`] waits for.
    pub(crate) async fn history(&self, expected: &[usize], until: i64) -> Result<Vec<Run>, String> {
        // First, so that the members know everything that is in it.
        let stored = points(&self.receiver).await?;
        let now = now_ms();
        let scraped = [
            points(&self.members[0].server).await?,
            points(&self.members[1].server).await?,
        ];
        if now < until {
            return Err("not yet that late".to_owned());
        }
        let last = *expected.last().unwrap();
        for labels in scraped[last].keys() {
            let stored_labels = with_cluster(labels);
            if !stored.contains_key(&stored_labels) {
                return Err(format!("not stored: {stored_labels:?}"));
            }
        }
        let mut numbered = None;
        for (mut labels, points) in stored {
            if labels.contains_key("__replica__") {
                return Err(format!("with a replica: {labels:?}"));
            }
            if labels.remove("cluster").as_deref() != Some(CLUSTER) {
                return Err(format!("without the cluster: {labels:?}"));
            }
            let of = |index: usize| scraped[index].get(&labels).map_or(&[][..], Vec::as_slice);
            let both = [of(0), of(1)];
            let found = runs(&points, both, expected).map_err(|e| format!("{labels:?}: {e}"))?;
            check(&found, both, expected, until).map_err(|e| format!("{labels:?}: {e}"))?;
            if labels["__name__"] == SCRAPE_NUMBER {
                numbered = Some(found);
            }
        }
        numbered.ok_or_else(|| format!("no {SCRAPE_NUMBER}"))
    }

    /// Waits until everything that this member scraped until `until` (Unix milliseconds) has been
    /// acknowledged.
    pub(crate) async fn wait_acknowledged(&self, index: usize, until: i64) -> Queue {
        let name = REPLICAS[index];
        wait_for(&format!("{name}'s queue to be empty"), SHORT, || async {
            let queue = self.members[index].queue().await?;
            if queue.acknowledged < until {
                return Err(format!("{queue:?}, until {until}"));
            }
            Ok(queue)
        })
        .await
    }
}

fn with_cluster(labels: &Labels) -> Labels {
    let mut labels = labels.clone();
    labels.insert("cluster".to_owned(), CLUSTER.to_owned());
    labels
}

/// A target with series of each kind.
async fn full_target() -> Target {
    let target = Target::start().await;
    target.set_scrape_number(SCRAPE_NUMBER);
    target.set_gauge("temperature", &[("room", "a")], 21.5);
    let exemplar = TargetExemplar::new(&[("trace_id", "abc")], 1.0, now_ms());
    target.set_counter("requests_total", &[("code", "200")], 7.0, Some(exemplar));
    let classic = TargetHistogram::classic(&[(1.0, 2), (5.0, 3)], 1, 12.0);
    target.set_histogram("classic", &[], classic);
    target.set_histogram("native", &[], TargetHistogram::native(&[1, 2, 3], 9.0));
    target
}

/// Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Milliseconds.
pub(crate) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap()
}
