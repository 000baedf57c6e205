//! The addresses of a downstream's name: resolved again while requests are sent, used in turn, and
//! skipped while they cannot be connected to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use kv_core::{LogThrottle, lock};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use url::Url;

use super::connections::{self, Connections, Failure, Target};
use super::exchange::{Answer, Outgoing};
use super::stream::Tls;

/// What is known of a name is resolved again when it is older than this, by the next request.
const RESOLVE_AFTER: Duration = Duration::from_secs(10);
/// Time between two attempts to connect to an address that is skipped.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// How long such an attempt may take, and a connection for a request where there are other addresses.
const CONNECT: Duration = Duration::from_secs(2);
/// Addresses of a name that are used.
const MOST: usize = 64;

/// From host and port to addresses.
pub(super) type Resolve =
    Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum SendError {
    /// The name has no address.
    Resolve { host: String, error: io::Error },
    /// The request failed.
    Request(Failure),
}

/// How connections are made.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) tls: rustls::ClientConfig,
    pub(super) max_idle: usize,
    /// Of one request.
    pub(super) timeout: Duration,
}

/// The settings, and what follows from them and the URL.
struct Found {
    settings: Settings,
    /// If the URL is one of https.
    tls: Option<Tls>,
}

/// All addresses of one downstream.
pub(super) struct Endpoints {
    shared: Arc<Shared>,
    turn: AtomicUsize,
}

struct Shared {
    downstream: Arc<str>,
    /// `None` if the URL has an address instead of a name.
    name: Option<(String, u16)>,
    settings: Found,
    resolve: Resolve,
    /// Empty until the name has been resolved once.
    current: ArcSwap<Vec<Arc<Endpoint>>>,
    /// When the name was resolved last, successfully or not.
    resolved: Mutex<Option<Instant>>,
    /// Held while the name is resolved.
    resolving: tokio::sync::Mutex<()>,
    failures: LogThrottle,
}

struct Endpoint {
    address: SocketAddr,
    connections: Connections,
    is_skipped: AtomicBool,
    probed: Mutex<Option<Instant>>,
}

/// The system's resolver.
pub(super) fn system() -> Resolve {
    Arc::new(|host, port| {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    })
}

impl Endpoints {
    /// Resolves and connects to nothing yet.
    pub(super) fn new(
        downstream: Arc<str>,
        url: &str,
        settings: Settings,
        resolve: Resolve,
    ) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|error| error.to_string())?;
        let (host, port) = host_of(&url).ok_or("its URL has no host")?;
        let tls = match url.scheme() {
            "https" => Some(Tls::new(settings.tls.clone(), &host)?),
            _ => None,
        };
        let settings = Found { settings, tls };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let (name, current) = match bare.parse::<IpAddr>() {
            Ok(ip) => {
                let address = SocketAddr::new(ip, port);
                let only = Endpoint::new(address, connections::CONNECT, &settings);
                (None, vec![Arc::new(only)])
            }
            Err(_) => (Some((host, port)), Vec::new()),
        };
        Ok(Self {
            shared: Arc::new(Shared {
                downstream,
                name,
                settings,
                resolve,
                current: ArcSwap::from_pointee(current),
                resolved: Mutex::default(),
                resolving: tokio::sync::Mutex::default(),
                failures: LogThrottle::default(),
            }),
            turn: AtomicUsize::new(0),
        })
    }

    /// Sends once and waits for the head of the answer, without a timeout. Another address is tried
    /// only if no connection could be made: a request that may have been received is never sent again.
    pub(super) async fn send(&self, request: &Outgoing) -> Result<Answer, SendError> {
        let endpoints = self.endpoints().await?;
        if let [only] = endpoints.as_slice()
            && !only.is_skipped()
        {
            return only
                .connections
                .send(request)
                .await
                .map_err(SendError::Request);
        }
        let (mut usable, skipped): (Vec<_>, Vec<_>) = endpoints
            .iter()
            .partition(|endpoint| !endpoint.is_skipped());
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let first = turn.checked_rem(usable.len()).unwrap_or(0);
        usable.rotate_left(first);
        for endpoint in &skipped {
            self.shared.probe(endpoint);
        }
        // As the last resort: what is skipped may have come back.
        usable.extend(skipped);
        let has_others = usable.len() > 1;
        let mut failed = None;
        for endpoint in usable {
            match endpoint.connections.send(request).await {
                Err(error @ Failure::Connect(..)) => {
                    if has_others {
                        self.shared.skip(endpoint, &error);
                    }
                    failed = Some(error);
                }
                Ok(answer) => return Ok(answer),
                Err(error) => return Err(SendError::Request(error)),
            }
        }
        Err(match failed {
            Some(error) => SendError::Request(error),
            None => self.shared.unresolved(io::ErrorKind::NotFound.into()),
        })
    }

    /// Those to use now. Only the first request waits for the resolver.
    async fn endpoints(&self) -> Result<Arc<Vec<Arc<Endpoint>>>, SendError> {
        let shared = &self.shared;
        let current = shared.current.load_full();
        if current.is_empty() {
            let _resolving = shared.resolving.lock().await;
            let current = shared.current.load_full();
            if !current.is_empty() {
                return Ok(current);
            }
            *lock(&shared.resolved) = Some(Instant::now());
            shared
                .resolve()
                .await
                .map_err(|error| shared.unresolved(error))?;
            return Ok(shared.current.load_full());
        }
        if shared.name.is_some() && claim(&shared.resolved, RESOLVE_AFTER) {
            let shared = Arc::clone(shared);
            tokio::spawn(async move {
                let _resolving = shared.resolving.lock().await;
                if let Err(error) = shared.resolve().await
                    && let Some(suppressed) = shared.failures.admit()
                {
                    tracing::warn!(
                        downstream = &*shared.downstream,
                        %error,
                        suppressed,
                        "the name of a downstream cannot be resolved; its previous addresses are used"
                    );
                }
            });
        }
        Ok(current)
    }
}

impl Shared {
    fn unresolved(&self, error: io::Error) -> SendError {
        let host = self.name.as_ref().map(|(host, _)| host.clone());
        SendError::Resolve {
            host: host.unwrap_or_default(),
            error,
        }
    }

    /// Keeps the connections of addresses that stay; those of others are closed when they are idle.
    async fn resolve(&self) -> io::Result<()> {
        let Some((host, port)) = &self.name else {
            return Ok(());
        };
        let mut addresses = (self.resolve)(host.clone(), *port).await?;
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(MOST);
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
        }
        let before = self.current.load_full();
        let known: Vec<_> = before.iter().map(|one| one.address).collect();
        if known == addresses {
            return Ok(());
        }
        let endpoint = |address: SocketAddr| {
            let kept = before.iter().find(|one| one.address == address);
            kept.map_or_else(
                || Arc::new(Endpoint::new(address, CONNECT, &self.settings)),
                Arc::clone,
            )
        };
        let fresh = addresses.iter().map(|address| endpoint(*address));
        self.current.store(Arc::new(fresh.collect()));
        if !before.is_empty() {
            tracing::info!(
                downstream = &*self.downstream,
                addresses = listed(&addresses),
                before = listed(&known),
                "the addresses of a downstream have changed"
            );
        }
        Ok(())
    }

    /// From now on the address is used only if there is no other, until it can be connected to.
    fn skip(&self, endpoint: &Endpoint, error: &Failure) {
        *lock(&endpoint.probed) = Some(Instant::now());
        if !endpoint.is_skipped.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                downstream = &*self.downstream,
                address = %endpoint.address,
                %error,
                "an address of a downstream cannot be connected to; the others are used until it can"
            );
        }
    }

    /// Connects to a skipped address from time to time, so that no request has to wait for it.
    fn probe(&self, endpoint: &Arc<Endpoint>) {
        if !claim(&endpoint.probed, PROBE_INTERVAL) {
            return;
        }
        let address = endpoint.address;
        let endpoint = Arc::clone(endpoint);
        let downstream = Arc::clone(&self.downstream);
        tokio::spawn(async move {
            if let Ok(Ok(_)) = timeout(CONNECT, TcpStream::connect(address)).await {
                endpoint.is_skipped.store(false, Ordering::Relaxed);
                tracing::info!(
                    downstream = &*downstream,
                    %address,
                    "an address of a downstream can be connected to again"
                );
            }
        });
    }
}

impl Endpoint {
    fn new(address: SocketAddr, connect: Duration, found: &Found) -> Self {
        let Settings {
            max_idle, timeout, ..
        } = found.settings;
        let target = Target {
            address,
            tls: found.tls.clone(),
            connect,
        };
        Self {
            address,
            connections: Connections::new(target, max_idle, timeout),
            is_skipped: AtomicBool::new(false),
            probed: Mutex::default(),
        }
    }

    fn is_skipped(&self) -> bool {
        self.is_skipped.load(Ordering::Relaxed)
    }
}

/// Host and port of a URL.
fn host_of(url: &Url) -> Option<(String, u16)> {
    Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
}

/// Whether something that is done every `interval` is to be done now, by the caller.
fn claim(last: &Mutex<Option<Instant>>, interval: Duration) -> bool {
    let mut last = lock(last);
    let is_due = last.is_none_or(|last| last.elapsed() >= interval);
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}

fn listed(addresses: &[SocketAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(", ")
}

#[cfg(test)]
mod tests;
