//! The pooled connections to one address of a downstream; all are abandoned when one of them is dead.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use reqwest::{Client, RequestBuilder, Response};

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(60);
/// How long making a connection may take: three SYNs, after 0, 1 and 3 s.
const CONNECT: Duration = Duration::from_secs(5);
/// How long sent bytes may stay without an acknowledgement: half of the default timeout of a
/// request. The downstream's kernel acknowledges, however busy the downstream is.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// An idle connection is probed after this long, and again some times: a dead one is found before it
/// would be closed for being idle.
const PROBE_AFTER: Duration = Duration::from_secs(15);
const PROBE_EVERY: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;
/// A request without an answer for this long makes its connection suspect, and so the others of the
/// pool. Shorter than what common senders wait for an answer, so that it is noticed before they hang
/// up; and at most a quarter of the downstream's timeout.
const SUSPECT_AFTER: Duration = Duration::from_secs(3);

/// The connections that new requests use.
pub(super) struct Connections {
    tls: rustls::ClientConfig,
    max_idle: usize,
    pin: Option<Pin>,
    suspect_after: Duration,
    /// Its pool holds connections that were made since the last sign of a dead one.
    current: ArcSwap<Client>,
}

/// The one address of a name that is connected to.
#[derive(Clone)]
pub(super) struct Pin {
    pub(super) host: String,
    pub(super) address: SocketAddr,
    /// How long making a connection may take.
    pub(super) connect: Duration,
}

impl Connections {
    /// Connects to nothing yet. `timeout` is that of one request.
    pub(super) fn new(
        tls: rustls::ClientConfig,
        max_idle: usize,
        timeout: Duration,
        pin: Option<Pin>,
    ) -> reqwest::Result<Self> {
        Ok(Self {
            current: ArcSwap::from_pointee(client(tls.clone(), max_idle, pin.as_ref())?),
            tls,
            max_idle,
            pin,
            suspect_after: SUSPECT_AFTER.min(timeout / 4),
        })
    }

    /// Sends once and waits for the head of the answer, without a timeout. A request that may have
    /// been received is never sent again; when its connection seems dead, later requests get new
    /// connections, while this one goes on waiting.
    pub(super) async fn send(
        &self,
        request: impl FnOnce(&Client) -> RequestBuilder,
    ) -> reqwest::Result<Response> {
        let client = self.current.load_full();
        let answer = request(&client).send();
        tokio::pin!(answer);
        let answer = match tokio::time::timeout(self.suspect_after, &mut answer).await {
            Ok(answer) => answer,
            Err(_) => {
                self.leave(&client);
                answer.await
            }
        };
        if answer.is_err() {
            self.leave(&client);
        }
        answer
    }

    /// Closes the idle connections of this client, unless that was done before.
    fn leave(&self, left: &Arc<Client>) {
        if !Arc::ptr_eq(&self.current.load(), left) {
            return;
        }
        match client(self.tls.clone(), self.max_idle, self.pin.as_ref()) {
            Ok(fresh) => {
                self.current.compare_and_swap(left, Arc::new(fresh));
            }
            Err(error) => tracing::error!(%error, "cannot make new connections to a downstream"),
        }
    }
}

fn client(
    tls: rustls::ClientConfig,
    max_idle: usize,
    pin: Option<&Pin>,
) -> reqwest::Result<Client> {
    let builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        // Like Prometheus, it does not use a proxy from the environment.
        .no_proxy()
        .connect_timeout(pin.map_or(CONNECT, |pin| pin.connect))
        .tcp_keepalive(PROBE_AFTER)
        .tcp_keepalive_interval(PROBE_EVERY)
        .tcp_keepalive_retries(PROBES)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(max_idle);
    let builder = match pin {
        Some(pin) => builder.resolve_to_addrs(&pin.host, &[pin.address]),
        None => builder,
    };
    #[cfg(target_os = "linux")]
    let builder = builder.tcp_user_timeout(UNACKNOWLEDGED);
    builder.build()
}
