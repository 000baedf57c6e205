//! Single requests: reading and writing keys.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use kv_core::{ByteStore, Failure, WatchEvent, WatchScope};
use rustls::ClientConfig;

use crate::agent::{Agent, Answer, Consistency, Repeat};
use crate::config::{ConfigError, ConsulConfig};
use crate::rate::RateLimit;
use crate::request::Request;
use crate::{key, snapshot, watch};

/// Consul's keys and values as bytes; the version of a key is its `ModifyIndex`.
pub struct ConsulBytes {
    agent: Arc<Agent>,
    watch_rate_limit: f64,
    watch_burst_size: u32,
}

impl ConsulBytes {
    /// Uses the agent that `config` names, with `tls` for an `https://` host. Does not connect yet.
    ///
    /// # Errors
    /// The configuration cannot work, regardless of the state of the agent.
    pub fn new(config: &ConsulConfig, tls: Option<ClientConfig>) -> Result<Self, ConfigError> {
        let watch_burst_size = config.burst()?;
        Ok(Self {
            agent: Arc::new(Agent::new(config, tls)?),
            watch_rate_limit: config.watch_rate_limit,
            watch_burst_size,
        })
    }

    /// Reads from the leader, or with a quorum.
    async fn ask(&self, request: Request) -> Result<Answer, Failure> {
        let consistency = if self.agent.consistent_reads {
            Consistency::Quorum
        } else {
            Consistency::Leader
        };
        self.agent
            .ask(request, consistency, None, Repeat::Safe)
            .await
    }

    fn broken(&self, error: &dyn std::error::Error) -> Failure {
        Failure::permanent(format!("{}: {error}", self.agent.url()))
    }

    /// Whether a write or removal took place: `true` or `false` in the answer.
    fn done(&self, answer: &Answer) -> Result<bool, Failure> {
        serde_json::from_slice(&answer.body).map_err(|error| self.broken(&error))
    }
}

#[async_trait]
impl ByteStore for ConsulBytes {
    type Version = u64;

    fn name(&self) -> &'static str {
        "consul"
    }

    fn refuses(&self, key: &str) -> Option<&'static str> {
        key::refusal(key)
    }

    async fn read(&self, key: &str) -> Result<Option<(Vec<u8>, u64)>, Failure> {
        let answer = self.ask(Request::read(key)).await?;
        if !answer.found {
            return Ok(None);
        }
        let entries = snapshot::entries(&answer.body).map_err(|error| self.broken(&error))?;
        match entries.first() {
            None => Ok(None),
            Some(entry) => {
                let bytes = entry.bytes().map_err(|error| self.broken(&error))?;
                Ok(Some((bytes, entry.modify_index)))
            }
        }
    }

    async fn write(
        &self,
        key: &str,
        value: Option<Vec<u8>>,
        version: Option<u64>,
    ) -> Result<bool, Failure> {
        let index = version.unwrap_or(0);
        let request = match value {
            Some(value) => Request::put(key, value, index),
            None => Request::delete(key, Some(index)),
        };
        let answer = self
            .agent
            .ask(request, Consistency::Leader, None, Repeat::Unsafe)
            .await?;
        self.done(&answer)
    }

    async fn remove(&self, key: &str) -> Result<(), Failure> {
        let request = Request::delete(key, None);
        self.agent
            .ask(request, Consistency::Leader, None, Repeat::Safe)
            .await?;
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let answer = self.ask(Request::list(prefix)).await?;
        if !answer.found {
            return Ok(Vec::new());
        }
        serde_json::from_slice(&answer.body).map_err(|error| self.broken(&error))
    }

    fn watch(&self, scope: WatchScope) -> BoxStream<'static, WatchEvent<Vec<u8>>> {
        let limit = RateLimit::new(self.watch_rate_limit, self.watch_burst_size);
        watch::watch(Arc::clone(&self.agent), scope, limit)
    }
}
