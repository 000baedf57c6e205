//! Measures each case with all servers in turn, in rounds.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bench::measure::median;
use bench::reference::Codec;
use remote_write::Version;
use serde::Serialize;

use crate::cases::{Bodies, Case, Outcome};
use crate::cores::{Cores, thread_seconds};
use crate::load;
use crate::null::Work;
use crate::servers::{Cpu, Null, Servers, Used};
use crate::sink::Sink;

/// vmagent sends what it has taken up to a second later; it is done when it uses less than this, of one
/// processor, for [`QUIET`].
const IDLE: f64 = 0.01;
const QUIET: Duration = Duration::from_millis(1_300);

/// One case, medians of the rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) version: &'static str,
    pub(crate) series: usize,
    pub(crate) outcome: Outcome,
    /// Of a body, as it is sent and decompressed.
    pub(crate) compressed_bytes: usize,
    pub(crate) bytes: usize,
    /// CPU seconds of one request.
    pub(crate) null: f64,
    pub(crate) null_forward: f64,
    /// With decompression, and compression if it is forwarded.
    pub(crate) least: f64,
    /// Alone, again and again.
    pub(crate) decompress: f64,
    pub(crate) compress: f64,
    pub(crate) distributor: Server,
    /// Distributor over `least`: the median of the rounds' ratios.
    pub(crate) ratio: f64,
    pub(crate) vmagent: Option<Server>,
    /// vmagent over distributor: the median of the rounds' ratios.
    pub(crate) vmagent_ratio: Option<f64>,
}

/// What a request cost a server.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Server {
    /// Seconds of one request.
    pub(crate) cpu: Cpu,
    /// Seconds until the answer.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// One round of a case.
struct Round {
    /// Of the null receivers: what they do for each, with and without the codec.
    deduplicated: Least,
    accepted: Least,
    decompress: f64,
    compress: f64,
    distributor: Server,
    vmagent: Option<Server>,
}

/// What null receivers use for one outcome, CPU seconds of one request.
#[derive(Debug, Clone, Copy, Default)]
struct Least {
    /// Only read, or forwarded as it came.
    network: f64,
    /// Decompressed as well, and compressed again if it is forwarded.
    whole: f64,
}

/// Null receivers that do nothing with a body, and that do the least for an outcome.
struct Nulls {
    network: Null,
    whole: Null,
}

impl Nulls {
    fn deduplicating(cores: Cores) -> Result<Self> {
        let decompressing = Work {
            decompresses: true,
            ..Work::default()
        };
        Ok(Self {
            network: Null::start(cores, Work::default())?,
            whole: Null::start(cores, decompressing)?,
        })
    }

    fn accepting(cores: Cores, downstream: SocketAddr, bodies: &Bodies) -> Result<Self> {
        let forwarding = Work {
            downstream: Some(downstream),
            ..Work::default()
        };
        let compressing = Work {
            decompresses: true,
            compresses: Some(bodies.stripped.len()),
            ..forwarding
        };
        Ok(Self {
            network: Null::start(cores, forwarding)?,
            whole: Null::start(cores, compressing)?,
        })
    }
}

impl Round {
    /// What any receiver has to do for this outcome.
    fn least(&self, outcome: Outcome) -> f64 {
        let (deduplicated, accepted) = (self.deduplicated.whole, self.accepted.whole);
        match outcome {
            Outcome::Deduplicated => deduplicated,
            Outcome::Accepted => accepted,
            Outcome::Mixed => f64::midpoint(deduplicated, accepted),
        }
    }
}

/// Measures all cases, for so many seconds of each server in each round.
pub(crate) fn measure(cases: &[Case], rounds: usize, seconds: f64) -> Result<Vec<Row>> {
    let cores = Cores::choose()?;
    let sink = Sink::start()?;
    let servers = Servers::start(cores, &sink)?;
    let mut rows = Vec::new();
    for &case in cases {
        eprintln!(
            "{}, {} series, {}",
            case.version_name(),
            case.series,
            case.outcome.name()
        );
        let bodies = case.bodies()?;
        let bench = Bench {
            cores,
            servers: &servers,
            deduplicating: Nulls::deduplicating(cores)?,
            accepting: Nulls::accepting(cores, sink.address, &bodies)?,
            sink: &sink,
            case,
            bodies: &bodies,
            seconds,
        };
        // Keeps its replica elected while only the other one sends.
        bench.elect()?;
        let rounds: Result<Vec<Round>> = (0..rounds).map(|round| bench.round(round)).collect();
        rows.push(row(case, &bodies, &rounds?));
    }
    Ok(rows)
}

struct Bench<'a> {
    cores: Cores,
    servers: &'a Servers,
    deduplicating: Nulls,
    accepting: Nulls,
    sink: &'a Sink,
    case: Case,
    bodies: &'a Bodies,
    seconds: f64,
}

impl Bench<'_> {
    fn elect(&self) -> Result<()> {
        let accepted = Case {
            outcome: Outcome::Accepted,
            ..self.case
        };
        let requests = accepted.requests("/api/v1/push", self.bodies);
        load::run(self.distributor(), &requests, 0.0, || Ok(())).map(drop)
    }

    fn distributor(&self) -> SocketAddr {
        self.servers.distributor.http_address()
    }

    /// Each server first in another round.
    fn round(&self, number: usize) -> Result<Round> {
        let servers = self.servers;
        let (mut deduplicated, mut accepted) = (Least::default(), Least::default());
        let mut distributor = Server::default();
        let mut vmagent = None;
        for turn in 0..4 {
            match (turn + number) % 4 {
                0 if self.case.outcome != Outcome::Accepted => {
                    deduplicated = self.least(&self.deduplicating)?;
                }
                1 if self.case.outcome != Outcome::Deduplicated => {
                    accepted = self.least(&self.accepting)?;
                }
                0 | 1 => {}
                2 => {
                    self.elect()?;
                    let id = servers.distributor.process.id();
                    distributor = self.load(self.distributor(), id)?;
                }
                _ => vmagent = self.vmagent()?,
            }
        }
        let (decompress, compress) = self.codec()?;
        Ok(Round {
            deduplicated,
            accepted,
            decompress,
            compress,
            distributor,
            vmagent,
        })
    }

    fn least(&self, nulls: &Nulls) -> Result<Least> {
        let used = |null: &Null| {
            let server = self.load(null.address, null.id())?;
            anyhow::Ok(server.cpu.total())
        };
        Ok(Least {
            network: used(&nulls.network)?,
            whole: used(&nulls.whole)?,
        })
    }

    /// Loads a server whose work is done when it has answered.
    fn load(&self, address: SocketAddr, process: u32) -> Result<Server> {
        let mut requests = self.case.requests("/api/v1/push", self.bodies);
        if address != self.distributor() {
            // The null receivers answer everything alike.
            requests
                .iter_mut()
                .for_each(|(_, expected)| *expected = [200, 200]);
        }
        let mut marks = Vec::new();
        let answered = load::run(address, &requests, self.seconds, || {
            marks.push(Used::by(process)?);
            Ok(())
        })?;
        let [before, after] = marks[..] else {
            anyhow::bail!("{} marks", marks.len());
        };
        server(after.since(before), answered.latencies)
    }

    /// It has no 2.0, and nothing that it could deduplicate.
    fn vmagent(&self) -> Result<Option<Server>> {
        if self.case.version != Version::V1 || self.case.outcome != Outcome::Accepted {
            return Ok(None);
        }
        let (process, address) = &self.servers.vmagent;
        let requests = self.case.requests("/api/v1/write", self.bodies);
        wait_until_idle(process.id())?;
        let (before, bytes_before) = (Used::by(process.id())?, self.sink.bytes());
        let answered = load::run(*address, &requests, self.seconds, || Ok(()))?;
        let last = wait_until_idle(process.id())?;
        let warm_up = load::CONNECTIONS * load::WARM_UP;
        let count = answered.latencies.len() + warm_up;
        let forwarded = self.sink.bytes() - bytes_before;
        let sent = (count * self.bodies.raw) as u64;
        ensure!(
            forwarded > sent / 2,
            "vmagent forwarded {forwarded} bytes of {sent}"
        );
        // It answers before it forwards: the requests of the warm-up cannot be told apart.
        let scale = answered.latencies.len() as f64 / count as f64;
        let used = last.since(before);
        let used = Cpu {
            user: used.user * scale,
            system: used.system * scale,
        };
        server(used, answered.latencies).map(Some)
    }

    /// CPU seconds of decompressing a body, and of compressing what is left of it.
    fn codec(&self) -> Result<(f64, f64)> {
        let bodies = self.bodies;
        let calls = (4_000_000 / bodies.raw).max(8);
        let mut codec = Codec::default();
        let mut result = Ok(0);
        let work = || {
            let decompress = thread_seconds(|| {
                for _ in 0..calls {
                    result = codec.decompress(&bodies.elected);
                }
            });
            let compress = thread_seconds(|| {
                for _ in 0..calls {
                    std::hint::black_box(codec.compress(&bodies.stripped).ok());
                }
            });
            (decompress / calls as f64, compress / calls as f64)
        };
        let times = self.cores.as_server(work)?;
        result.context("a generated body")?;
        Ok(times)
    }
}

/// CPU of a process when it has stopped working.
#[expect(clippy::disallowed_methods, reason = "no runtime is blocked")]
fn wait_until_idle(process: u32) -> Result<Used> {
    loop {
        let before = Used::by(process)?;
        std::thread::sleep(QUIET);
        let after = Used::by(process)?;
        if after.since(before).total() < IDLE * QUIET.as_secs_f64() {
            return Ok(before);
        }
    }
}

fn server(cpu: Cpu, mut latencies: Vec<f64>) -> Result<Server> {
    ensure!(!latencies.is_empty(), "nothing was answered");
    latencies.sort_by(f64::total_cmp);
    let count = latencies.len();
    let at = |part: f64| latencies[((count as f64 * part) as usize).min(count - 1)];
    Ok(Server {
        cpu: Cpu {
            user: cpu.user / count as f64,
            system: cpu.system / count as f64,
        },
        p50: at(0.5),
        p99: at(0.99),
    })
}

fn row(case: Case, bodies: &Bodies, rounds: &[Round]) -> Row {
    let of = |value: &dyn Fn(&Round) -> f64| median(rounds.iter().map(value).collect());
    let medians = |which: &dyn Fn(&Round) -> Server| Server {
        cpu: Cpu {
            user: of(&|round| which(round).cpu.user),
            system: of(&|round| which(round).cpu.system),
        },
        p50: of(&|round| which(round).p50),
        p99: of(&|round| which(round).p99),
    };
    let has_vmagent = rounds.iter().all(|round| round.vmagent.is_some());
    Row {
        version: case.version_name(),
        series: case.series,
        outcome: case.outcome,
        compressed_bytes: bodies.elected.len(),
        bytes: bodies.raw,
        null: of(&|round| round.deduplicated.network),
        null_forward: of(&|round| round.accepted.network),
        decompress: of(&|round| round.decompress),
        compress: of(&|round| round.compress),
        least: of(&|round| round.least(case.outcome)),
        distributor: medians(&|round| round.distributor),
        ratio: of(&|round| round.distributor.cpu.total() / round.least(case.outcome)),
        vmagent: has_vmagent.then(|| medians(&|round| round.vmagent.unwrap_or_default())),
        vmagent_ratio: has_vmagent.then(|| {
            of(&|round| {
                round.vmagent.unwrap_or_default().cpu.total() / round.distributor.cpu.total()
            })
        }),
    }
}
