//! The distributors of the demo, in this process.

use std::net::SocketAddr;

use distributor::{Running, start};
use distributor_config::{Config, Invocation};
use futures::future::{join_all, select_all};

use crate::error::DemoError;
use crate::script::{CLUSTER_LABEL, DISTRIBUTORS, REPLICA_LABEL, Script};

/// Each is there until it is killed.
pub(crate) struct Distributors(Vec<Option<Running>>);

impl Distributors {
    /// Starts all of them, each of which joins the first; returns when they know each other.
    pub(crate) async fn start(script: &Script, downstream: &str) -> Result<Self, DemoError> {
        let mut running: Vec<Running> = Vec::new();
        for index in 0..DISTRIBUTORS {
            let first = running.first().and_then(Running::gossip_address);
            let config = configuration(script, downstream, index, first)?;
            let distributor = start(config).await?;
            distributor.ready().await;
            running.push(distributor);
        }
        Ok(Self(running.into_iter().map(Some).collect()))
    }

    /// Where those that run listen for HTTP.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let running = self.0.iter().flatten();
        running
            .map(|distributor| distributor.http_address)
            .collect()
    }

    /// Ends one like a crash: connections are cut, gossip does not hear of it.
    pub(crate) fn kill(&mut self, index: usize) {
        self.0[index] = None;
    }

    /// Waits for one to fail, and says why it did.
    pub(crate) async fn failed(&mut self) -> String {
        let failures = self.0.iter_mut().flatten().map(Running::failed);
        select_all(failures.map(Box::pin)).await.0.to_string()
    }

    /// Ends all in order.
    pub(crate) async fn shutdown(self) {
        join_all(self.0.into_iter().flatten().map(Running::shutdown)).await;
    }
}

/// As a user would configure it, by flags, with timeouts short enough to watch.
fn configuration(
    script: &Script,
    downstream: &str,
    index: usize,
    join: Option<SocketAddr>,
) -> Result<Config, DemoError> {
    let update = script.update_timeout.as_millis();
    let failover = script.failover_timeout.as_millis();
    let slice = script.scrape_interval.as_millis() * 4 / 5;
    let guard = script.scrape_interval.as_millis() * 3 / 5;
    let mut flags = vec![
        "-server.http-listen-address=127.0.0.1".to_owned(),
        "-server.http-listen-port=0".to_owned(),
        "-server.grpc-listen-address=127.0.0.1".to_owned(),
        "-server.grpc-listen-port=0".to_owned(),
        "-distributor.ha-tracker.enable".to_owned(),
        "-distributor.ha-tracker.enable-for-all-users".to_owned(),
        "-memberlist.bind-addr=127.0.0.1".to_owned(),
        "-memberlist.bind-port=0".to_owned(),
        format!("-memberlist.nodename=distributor-{index}"),
        "-memberlist.randomize-node-name=false".to_owned(),
        format!("-distributor.ha-tracker.cluster={CLUSTER_LABEL}"),
        format!("-distributor.ha-tracker.replica={REPLICA_LABEL}"),
        format!("-distributor.ha-tracker.update-timeout={update}ms"),
        "-distributor.ha-tracker.update-timeout-jitter-max=0s".to_owned(),
        format!("-distributor.ha-tracker.failover-timeout={failover}ms"),
        // The demo's senders wait so long at most.
        "-distributor.ha-tracker.sender-backoff=5s".to_owned(),
        format!(
            "-distributor.ha-tracker.failover-mode={}",
            script.mode.word()
        ),
        // More than the time between the senders' scrapes, so that of each interval one is stored.
        format!("-distributor.ha-tracker.failover-guard={guard}ms"),
        format!("-distributor.ha-tracker.failover-slice={slice}ms"),
        format!("-distributor.downstream.url={downstream}"),
    ];
    flags.extend(join.map(|address| format!("-memberlist.join={address}")));
    // Not the environment: the demo is the same everywhere.
    let no_variables = std::iter::empty();
    let flags = flags.into_iter().map(Into::into);
    let loaded = distributor_config::load(flags, no_variables, &distributor::check_store);
    match loaded.map_err(DemoError::Config)? {
        Invocation::Run(loaded) | Invocation::Check(loaded) | Invocation::Print(loaded) => {
            Ok(loaded.config)
        }
        Invocation::Help(_) | Invocation::Version => Err(DemoError::Config(
            distributor_config::ConfigErrors(Vec::new()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_has_no_mistakes() {
        for script in [Script::FULL, Script::QUICK] {
            let join = Some(([127, 0, 0, 1], 7946).into());
            let config = configuration(&script, "http://127.0.0.1:9/api/v1/push", 0, join).unwrap();
            assert!(config.distributor.ha_tracker.enable_ha_tracker);
            assert!(config.limits.push.accept_ha_samples);
            assert_eq!(
                config.limits.elections.failover_timeout,
                script.failover_timeout
            );
        }
    }
}
