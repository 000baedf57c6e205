//! [`MemberlistGo`]: a member of a gossip ring that runs the code of Grafana Mimir's members.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::programs::{comes_up, program};
use crate::{Answer, LONG, Metrics, Process, Recipe, get, http_client};

const PEER: &str = "memberlist-go";

/// How a member is set up.
#[derive(Debug, Clone, Default)]
pub struct MemberlistGoOptions {
    /// Its name in the ring, to which nothing is added.
    pub node: String,
    /// The gossip addresses that it joins.
    pub join: Vec<SocketAddr>,
    /// More flags: dskit's own (`-memberlist.…`), and `-ha.…`.
    pub flags: Vec<String>,
}

/// A running member.
#[derive(Debug)]
pub struct MemberlistGo {
    /// Its process: to be stopped, continued and killed.
    pub process: Process,
    node: String,
    gossip: SocketAddr,
    control: SocketAddr,
    starts: usize,
}

/// A member that another one takes for alive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoMember {
    /// Its name.
    pub name: String,
    /// Its gossip address.
    pub address: String,
    /// Bytes of its IP address as it is gossiped: 4 or 16.
    pub width: u64,
    /// Its metadata, in base64; empty without.
    pub meta: String,
}

/// A key in a member's store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GoEntry {
    /// The elected replica; empty for another codec.
    pub replica: String,
    /// Unix milliseconds.
    pub received_at: i64,
    /// Unix milliseconds; 0 while it is not deleted.
    pub deleted_at: i64,
    /// Unix milliseconds.
    pub elected_at: i64,
    /// How often another replica was elected.
    pub elected_changes: i64,
    /// The name of the value's codec.
    pub codec: String,
    /// How often this member has changed it.
    pub version: u64,
    /// Whether the key was deleted, beside what the value says.
    pub deleted: bool,
    /// When its watch delivered this value, in Unix milliseconds; 0 if it has not.
    pub arrived_at: i64,
}

/// What the member's election says of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoVerdict {
    /// Whether the sample is accepted.
    pub accepted: bool,
    /// The elected replica.
    pub elected: String,
}

impl MemberlistGo {
    /// Starts a member on ports of the kernel's choice, and waits until it is in the ring, or alone if
    /// none that it should join answers.
    ///
    /// # Panics
    /// When the program is not there (`cargo xtask peers` builds it) or exits.
    pub async fn start(options: &MemberlistGoOptions) -> Self {
        let name = &options.node;
        let recipe = Recipe {
            program: program(PEER, PEER),
            arguments: arguments(options).into_iter().map(Into::into).collect(),
            environment: Vec::new(),
        };
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut this = Self {
            process: Process::start(name, Process::folder_for(name), recipe),
            node: name.clone(),
            gossip: unknown,
            control: unknown,
            starts: 1,
        };
        this.wait_ready().await;
        this
    }

    /// Its name in the ring.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Where it gossips.
    pub fn gossip(&self) -> SocketAddr {
        self.gossip
    }

    /// Where it takes remote write 1.0, which it forwards to `-push.downstream`. The port changes with
    /// each start, unless `-control.listen` has one.
    pub fn push_url(&self) -> String {
        self.url("api/v1/push")
    }

    /// Kills it and starts it again under the same name, on another address.
    pub async fn restart_elsewhere(&mut self) {
        self.restart_on(0).await;
    }

    /// Kills it and starts it again under the same name, on the same address.
    pub async fn restart(&mut self) {
        self.restart_on(self.gossip.port()).await;
    }

    async fn restart_on(&mut self, port: u16) {
        let arguments = &mut self.process.recipe_mut().arguments;
        arguments.pop();
        arguments.push(bind_port(port).into());
        self.process.restart();
        self.starts += 1;
        self.wait_ready().await;
    }

    /// Leaves the ring, and returns when it has; the process stays.
    ///
    /// # Errors
    /// When it cannot leave.
    pub async fn leave(&self) -> Result<(), String> {
        self.post("leave", &[]).await.map(drop)
    }

    /// The members that it takes for alive, by name; itself included.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn members(&self) -> Result<Vec<GoMember>, String> {
        let page = self.page("members").await?;
        let members = page["members"].as_array().map_or(&[][..], Vec::as_slice);
        let member = |member: &Value| GoMember {
            name: text(&member["name"]),
            address: text(&member["addr"]),
            width: member["width"].as_u64().unwrap_or_default(),
            meta: text(&member["meta"]),
        };
        Ok(members.iter().map(member).collect())
    }

    /// The names of [`MemberlistGo::members`].
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn member_names(&self) -> Result<Vec<String>, String> {
        let members = self.members().await?;
        Ok(members.into_iter().map(|member| member.name).collect())
    }

    /// All keys in its store.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn keys(&self) -> Result<BTreeMap<String, GoEntry>, String> {
        let page = self.page("keys").await?;
        let keys = page.as_object().ok_or("not an object")?;
        let number = |value: &Value| value.as_i64().unwrap_or_default();
        let entry = |entry: &Value| GoEntry {
            replica: text(&entry["replica"]),
            received_at: number(&entry["receivedAt"]),
            deleted_at: number(&entry["deletedAt"]),
            elected_at: number(&entry["electedAt"]),
            elected_changes: number(&entry["electedChanges"]),
            codec: text(&entry["codec"]),
            version: entry["version"].as_u64().unwrap_or_default(),
            deleted: entry["deleted"] == true,
            arrived_at: number(&entry["arrivedAt"]),
        };
        let keys = keys.iter();
        Ok(keys
            .map(|(key, value)| (key.clone(), entry(value)))
            .collect())
    }

    /// Writes a key: that this replica is elected, and was seen at `now` (Unix milliseconds).
    ///
    /// # Errors
    /// When the store refuses it: without a change, say.
    pub async fn cas(&self, key: &str, replica: &str, now: i64) -> Result<(), String> {
        let query = [
            ("key", key),
            ("replica", replica),
            ("now", &now.to_string()),
        ];
        self.post("cas", &query).await.map(drop)
    }

    /// Writes the keys `<prefix>0` to `<prefix><count - 1>`.
    ///
    /// # Errors
    /// As [`MemberlistGo::cas`].
    pub async fn fill(&self, prefix: &str, count: usize, replica: &str) -> Result<(), String> {
        let count = count.to_string();
        let query = [("prefix", prefix), ("count", &*count), ("replica", replica)];
        self.post("fill", &query).await.map(drop)
    }

    /// Deletes a key, as a clean-up does long after its value was marked.
    ///
    /// # Errors
    /// When the store refuses it.
    pub async fn delete(&self, key: &str) -> Result<(), String> {
        self.post("delete", &[("key", key)]).await.map(drop)
    }

    /// Lets it judge a sample, by Mimir's election.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sample(
        &self,
        user: &str,
        cluster: &str,
        replica: &str,
    ) -> Result<GoVerdict, String> {
        let query = [("user", user), ("cluster", cluster), ("replica", replica)];
        let verdict = self.post("sample", &query).await?.json();
        Ok(GoVerdict {
            accepted: verdict["accepted"] == true,
            elected: text(&verdict["elected"]),
        })
    }

    /// Writes `changes` keys a second for so many seconds, as member number `member`; the changes of
    /// other members that arrived: key, when it was written (Unix milliseconds), and how many milliseconds
    /// it took.
    ///
    /// # Errors
    /// When it cannot write.
    pub async fn load(
        &self,
        member: usize,
        keys: usize,
        changes: u32,
        seconds: u64,
    ) -> Result<Vec<(String, i64, i64)>, String> {
        let query = [
            ("member", &*member.to_string()),
            ("keys", &*keys.to_string()),
            ("changes", &*changes.to_string()),
            ("seconds", &*seconds.to_string()),
        ];
        let within = LONG + Duration::from_secs(seconds);
        let arrivals = self.post_within("load", &query, within).await?.json();
        let arrivals = arrivals.as_array().ok_or("not an array")?.iter();
        let number = |value: &Value| value.as_i64().unwrap_or_default();
        Ok(arrivals
            .map(|one| {
                (
                    text(&one["key"]),
                    number(&one["written"]),
                    number(&one["took"]),
                )
            })
            .collect())
    }

    /// dskit's own metrics.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn metrics(&self) -> Result<Metrics, String> {
        let answer = get(&self.url("metrics"), None).await?;
        Metrics::parse(&answer.body).map_err(|e| e.to_string())
    }

    /// The lines of its log with warnings and errors.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.process.log();
        let lines = log.lines();
        lines
            .filter(|line| line.contains("level=warn") || line.contains("level=error"))
            .map(str::to_owned)
            .collect()
    }

    async fn page(&self, path: &str) -> Result<Value, String> {
        let answer = get(&self.url(path), None).await?;
        if answer.status != 200 {
            return Err(format!("{}: {}", answer.status, answer.body));
        }
        serde_json::from_str(&answer.body).map_err(|e| format!("{e}: {}", answer.body))
    }

    async fn post(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, String> {
        self.post_within(path, query, LONG).await
    }

    async fn post_within(
        &self,
        path: &str,
        query: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<Answer, String> {
        let query = query
            .iter()
            .fold(
                url::form_urlencoded::Serializer::new(String::new()),
                |mut all, (name, value)| {
                    all.append_pair(name, value);
                    all
                },
            )
            .finish();
        let request = http_client().post(format!("{}?{query}", self.url(path)));
        let response = request
            .timeout(timeout)
            .send()
            .await
            .map_err(|e| format!("{e:?}"))?;
        let answer = Answer::read(response).await.map_err(|e| format!("{e:?}"))?;
        if !(200..300).contains(&answer.status) {
            return Err(format!("{}: {}", answer.status, answer.body));
        }
        Ok(answer)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.control)
    }

    /// Waits until it prints its addresses, which it does when it has joined.
    async fn wait_ready(&mut self) {
        let starts = self.starts;
        let log = self.process.folder().join("output.log");
        let addresses = move || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let mut lines = text.lines().filter(|line| line.starts_with("{\"control\""));
            lines.nth(starts - 1).map(str::to_owned)
        };
        let is_up = comes_up(&mut self.process, || {
            let addresses = addresses();
            async {
                addresses
                    .map(drop)
                    .ok_or_else(|| "it has not joined".to_owned())
            }
        })
        .await;
        assert!(is_up, "{} exited:\n{}", self.node, self.process.log());
        let line: Value = serde_json::from_str(&addresses().unwrap()).unwrap();
        self.control = line["control"].as_str().unwrap().parse().unwrap();
        let port = line["gossip"].as_u64().unwrap();
        self.gossip.set_port(port.try_into().unwrap());
    }
}

/// The last one is the port.
fn arguments(options: &MemberlistGoOptions) -> Vec<String> {
    let mut arguments = vec![
        "-memberlist.bind-addr=127.0.0.1".to_owned(),
        format!("-memberlist.nodename={}", options.node),
        "-memberlist.randomize-node-name=false".to_owned(),
        // By default, a burst of 128 keys makes the watch lose some.
        "-memberlist.watch-prefix-buffer-size=65536".to_owned(),
    ];
    let join = options.join.iter();
    arguments.extend(join.map(|address| format!("-memberlist.join={address}")));
    arguments.extend(options.flags.iter().cloned());
    arguments.push(bind_port(0));
    arguments
}

fn bind_port(port: u16) -> String {
    format!("-memberlist.bind-port={port}")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
