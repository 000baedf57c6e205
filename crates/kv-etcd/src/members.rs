//! The members of the cluster: connections, log-ins, and which member to use.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use settings::Secret;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::address::Address;
use crate::client::Client;
use crate::connector::{Connector, LastError};
use crate::error::{CallError, Cause};
use crate::{ConfigError, EtcdConfig};

/// How often a connection is probed.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const USER_AGENT: &str = concat!("kv-etcd/", env!("CARGO_PKG_VERSION"));

/// All members. One of them is used until it fails.
pub(crate) struct Members {
    members: Vec<Member>,
    /// Less than the number of members, of which there is at least one.
    current: AtomicUsize,
}

struct Member {
    /// `host:port`
    name: String,
    address: Address,
    tls: Option<Arc<ClientConfig>>,
    /// User and password.
    credentials: Option<(String, Secret)>,
    timeout: Duration,
    /// Locked alone, also while it logs in.
    connection: Mutex<Connection>,
    last_error: LastError,
}

#[derive(Default)]
struct Connection {
    /// It reconnects by itself.
    channel: Option<Channel>,
    session: Option<Session>,
    /// Counts all sessions so far.
    sessions: u64,
}

/// A client that has logged in, if there are credentials.
#[derive(Clone)]
struct Session {
    client: Client,
    number: u64,
}

impl Members {
    pub(crate) fn new(config: &EtcdConfig, tls: Option<ClientConfig>) -> Result<Self, ConfigError> {
        let addresses = config.addresses()?;
        let tls = tls.filter(|_| config.tls_enabled).map(|mut tls| {
            tls.alpn_protocols = vec![b"h2".to_vec()];
            Arc::new(tls)
        });
        if config.tls_enabled && tls.is_none() {
            return Err(ConfigError::NoTls);
        }
        let members = addresses.into_iter().map(|address| Member {
            name: address.name.clone(),
            address,
            tls: tls.clone(),
            credentials: config.credentials(),
            timeout: config.dial_timeout,
            connection: Mutex::default(),
            last_error: LastError::default(),
        });
        Ok(Self {
            members: members.collect(),
            current: AtomicUsize::new(0),
        })
    }

    /// The number of the current member.
    pub(crate) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// `host:port` of a member.
    pub(crate) fn name(&self, member: usize) -> &str {
        &self.members[member].name
    }

    /// One attempt with the current member, bounded by the time-out. If this member does not serve,
    /// later calls go to the next one.
    pub(crate) async fn call<T, A>(
        &self,
        attempt: impl Fn(Client) -> A + Send,
    ) -> Result<T, CallError>
    where
        A: Future<Output = Result<T, Status>> + Send,
    {
        self.call_member(self.current(), attempt).await
    }

    /// [`Members::call`] with this member.
    pub(crate) async fn call_member<T, A>(
        &self,
        member: usize,
        attempt: impl Fn(Client) -> A + Send,
    ) -> Result<T, CallError>
    where
        A: Future<Output = Result<T, Status>> + Send,
    {
        let result = self.members[member].call(attempt).await;
        if let Err(error) = &result
            && error.cause.moves_on()
        {
            self.leave(member);
        }
        result
    }

    /// A failure of this member.
    pub(crate) fn error(&self, member: usize, error: &Status) -> CallError {
        self.members[member].error(error)
    }

    /// This member does not serve. If many calls find this out at the same time, the current member
    /// changes only once.
    pub(crate) fn leave(&self, member: usize) {
        let next = (member + 1) % self.members.len();
        let _ = self
            .current
            .compare_exchange(member, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The next call to this member logs in again.
    pub(crate) async fn log_out(&self, member: usize) {
        self.members[member].connection.lock().await.session = None;
    }
}

impl Member {
    async fn call<T, A>(&self, attempt: impl Fn(Client) -> A + Send) -> Result<T, CallError>
    where
        A: Future<Output = Result<T, Status>> + Send,
    {
        let used = AtomicU64::new(0);
        let Ok(result) = timeout(self.timeout, self.call_logged_in(attempt, &used)).await else {
            // The connection may be dead, which TCP detects late. If the lock is taken, or the
            // session is another one, another call has detected it before.
            if let Ok(mut connection) = self.connection.try_lock()
                && (connection.session.as_ref())
                    .is_none_or(|session| session.number == used.into_inner())
            {
                connection.session = None;
                connection.channel = None;
            }
            let text = format!("no answer within {:?}", self.timeout);
            return Err(CallError::new(&self.name, Cause::Unanswered, text));
        };
        result
    }

    /// Logs in again, once, if the member asks for it: etcd forgets tokens when it restarts, and
    /// after five minutes. `used` is set to the number of the session.
    async fn call_logged_in<T, A>(
        &self,
        attempt: impl Fn(Client) -> A + Send,
        used: &AtomicU64,
    ) -> Result<T, CallError>
    where
        A: Future<Output = Result<T, Status>> + Send,
    {
        let mut again = true;
        loop {
            let session = self.session().await?;
            used.store(session.number, Ordering::Relaxed);
            let result = attempt(session.client).await;
            let mut error = match result {
                Ok(answer) => return Ok(answer),
                Err(error) => self.error(&error),
            };
            if error.cause != Cause::Unauthenticated {
                return Err(error);
            }
            if self.credentials.is_none() {
                error.cause = Cause::Refused;
                return Err(error);
            }
            let mut connection = self.connection.lock().await;
            // Another call may have logged in again in the meantime.
            if (connection.session.as_ref()).is_some_and(|now| now.number == session.number) {
                connection.session = None;
            }
            if !std::mem::take(&mut again) {
                return Err(error);
            }
        }
    }

    async fn session(&self) -> Result<Session, CallError> {
        // Held while logging in: a password check is expensive for etcd, so all waiting calls share
        // one.
        let mut connection = self.connection.lock().await;
        if let Some(session) = &connection.session {
            return Ok(session.clone());
        }
        let channel = match &connection.channel {
            Some(channel) => channel.clone(),
            None => connection.channel.insert(self.channel()).clone(),
        };
        let client = self.log_in(channel).await?;
        connection.sessions += 1;
        let number = connection.sessions;
        Ok(connection
            .session
            .insert(Session { client, number })
            .clone())
    }

    async fn log_in(&self, channel: Channel) -> Result<Client, CallError> {
        if let Some((user, password)) = &self.credentials {
            match Client::log_in(channel.clone(), user, password.expose()).await {
                Err(status) if status.message().contains("authentication is not enabled") => {
                    tracing::warn!(
                        member = self.name,
                        "authentication is off in etcd; user and password have no effect"
                    );
                }
                result => return result.map_err(|error| self.error(&error)),
            }
        }
        Ok(Client::anonymous(channel))
    }

    fn channel(&self) -> Channel {
        let endpoint = Endpoint::from(self.address.connect_to.clone());
        let named = endpoint.clone().user_agent(USER_AGENT);
        let endpoint = named
            .unwrap_or(endpoint)
            .origin(self.address.uri.clone())
            .connect_timeout(self.timeout)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(self.timeout.saturating_mul(2))
            .keep_alive_while_idle(true);
        let connector = Connector::new(
            self.address.clone(),
            self.tls.clone(),
            self.last_error.clone(),
        );
        endpoint.connect_with_connector_lazy(connector)
    }

    fn error(&self, error: &Status) -> CallError {
        let mut described = CallError::from_status(&self.name, error);
        if error.source().is_some()
            && described.cause == Cause::Unanswered
            && let Some(reason) = self.last_error.get()
            && !described.text.contains(&reason)
        {
            described.text = format!("{}: {reason}", described.text);
        }
        described
    }
}
