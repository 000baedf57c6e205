//! The servers that are compared, and what they use.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use e2e::{Distributor, Port, Process, Recipe, get};
use peers::{comes_up, only_lost_its_port, program};
use serde::Serialize;
use serde_json::json;

use crate::cores::Cores;
use crate::null::Work;
use crate::sink::Sink;

/// CPU of a process, seconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Cpu {
    /// In its own code.
    pub(crate) user: f64,
    /// In the kernel.
    pub(crate) system: f64,
}

impl Cpu {
    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }
}

/// What a process has used until a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    /// Seconds, all threads together. Those that have ended do not count.
    total: f64,
    /// Ticks in its own code, and in the kernel.
    ticks: [u64; 2],
}

impl Used {
    /// Until now.
    pub(crate) fn by(process: u32) -> Result<Self> {
        let process = procfs::process::Process::new(process.try_into()?)?;
        let mut total = 0;
        for thread in process.tasks()? {
            let path = format!("/proc/{}/task/{}/schedstat", process.pid(), thread?.tid);
            // In nanoseconds, where the process' own sums are in ticks of 10 ms.
            let Ok(text) = std::fs::read_to_string(&path) else {
                // It has ended since the list was made.
                continue;
            };
            let first = text.split_whitespace().next().context(path)?;
            total += first.parse::<u64>()?;
        }
        let stat = process.stat()?;
        Ok(Self {
            total: total as f64 / 1e9,
            ticks: [stat.utime, stat.stime],
        })
    }

    pub(crate) fn since(self, before: Self) -> Cpu {
        let total = self.total - before.total;
        let [user, system] = [0, 1].map(|part| self.ticks[part] - before.ticks[part]);
        // Which part is whose is a sample, taken at ticks.
        let user = total * user as f64 / (user + system).max(1) as f64;
        Cpu {
            user,
            system: total - user,
        }
    }
}

/// The null receiver as a process.
pub(crate) struct Null {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Null {
    /// Where the servers run.
    pub(crate) fn start(cores: Cores, work: Work) -> Result<Self> {
        cores.as_server(|| Self::start_here(work))?
    }

    fn start_here(work: Work) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("null").args(work.arguments());
        command.stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().parse().context("the null receiver's address")?;
        Ok(Self { child, address })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Null {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All of them, on the processor of the servers.
pub(crate) struct Servers {
    pub(crate) distributor: Distributor,
    pub(crate) vmagent: (Process, SocketAddr),
}

impl Servers {
    pub(crate) fn start(cores: Cores, sink: &Sink) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        cores.as_server(|| {
            Ok(Self {
                distributor: runtime.block_on(distributor(sink)),
                vmagent: runtime.block_on(vmagent(sink))?,
            })
        })?
    }
}

async fn distributor(sink: &Sink) -> Distributor {
    let config = json!({
        "distributor": {
            "ha_tracker": {"enable_ha_tracker": true, "kvstore": {"store": "inmemory"}},
            "downstream": [{"name": "sink", "url": format!("http://{}/api/v1/push", sink.address)}],
        },
        "limits": {
            "accept_ha_samples": true,
            // Senders send as fast as they can.
            "ingestion_rate": 1e9,
            "ingestion_burst_size": 1_000_000_000,
        },
    });
    Distributor::start("distributor", &config.to_string()).await
}

/// Removes the label that the distributor removes, and forwards all.
async fn vmagent(sink: &Sink) -> Result<(Process, SocketAddr)> {
    loop {
        let port = Port::reserve();
        let folder = Process::folder_for("vmagent");
        let relabel = json!([{"action": "labeldrop", "regex": "__replica__"}]);
        std::fs::write(folder.path().join("relabel.yml"), relabel.to_string())?;
        let arguments = [
            format!("-httpListenAddr={}", port.address()),
            "-remoteWrite.tmpDataPath=queue".to_owned(),
            "-remoteWrite.relabelConfig=relabel.yml".to_owned(),
            format!("-remoteWrite.url=http://{}/api/v1/push", sink.address),
        ];
        let recipe = Recipe {
            program: program("vmagent", "vmagent"),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
        };
        let mut process = Process::start("vmagent", folder, recipe);
        let url = format!("http://{}/health", port.address());
        let is_up = comes_up(&mut process, || async {
            match get(&url, None).await? {
                answer if answer.status == 200 => Ok(()),
                answer => Err(format!("{}: {}", answer.status, answer.body)),
            }
        });
        if is_up.await {
            let address = port.address();
            return Ok((process, address));
        }
        only_lost_its_port(&process);
    }
}
