//! `cargo xtask bench`: runs the benchmarks and keeps the published numbers up to date.

use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::peers;
use crate::workspace::{Workspace, splice, stdout_of};

const PAGE: &str = "docs/performance.md";

/// One of the programs of the package `bench`.
#[derive(Clone, Copy)]
enum Suite {
    /// The hot path.
    HotPath,
    /// Stores with servers.
    Stores,
    /// A simulated cluster of the gossip store, by chitchat's protocol.
    Gossip,
    /// The same by memberlist's.
    GossipMemberlist,
    /// Gossip rings of real processes, ours beside one of Mimir's code.
    Ring,
    /// The same pushes over gRPC and HTTP.
    Grpc,
    /// The whole process beside other receivers.
    Peers,
    /// How the process grows with connections, clusters, tenants and processors.
    Scale,
    /// Failovers without loss.
    Failover,
}

impl Suite {
    /// The name of its table; its results are in `target/<name>.json`.
    fn table(self) -> &'static str {
        match self {
            Self::GossipMemberlist => "bench-gossip-memberlist",
            Self::Scale => "bench-scale",
            other => other.program(),
        }
    }

    /// The program.
    fn program(self) -> &'static str {
        match self {
            Self::HotPath => "bench",
            Self::Stores => "bench-stores",
            Self::Gossip | Self::GossipMemberlist => "bench-gossip",
            Self::Ring => "bench-ring",
            Self::Grpc => "bench-grpc",
            Self::Peers | Self::Scale => "bench-peers",
            Self::Failover => "bench-failover",
        }
    }
}

/// `bench [stores|gossip|ring|grpc|peers|scale|failover] [--quick] [--seed N] [--memberlist]`. A quick run prints its table and
/// leaves the page alone: its numbers are too noisy to publish. Only gossip has a seed, and another
/// protocol.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let (mut suite, mut quick, mut seed) = (Suite::HotPath, false, None);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "stores" => suite = Suite::Stores,
            "gossip" => suite = Suite::Gossip,
            "ring" => suite = Suite::Ring,
            "grpc" => suite = Suite::Grpc,
            "peers" => suite = Suite::Peers,
            "scale" => suite = Suite::Scale,
            "failover" => suite = Suite::Failover,
            "--seed" => seed = Some(arguments.next().context("--seed needs a number")?),
            "--quick" => quick = true,
            "--memberlist" if matches!(suite, Suite::Gossip) => suite = Suite::GossipMemberlist,
            other => bail!("unknown argument: {other}"),
        }
    }
    let program = suite.program();
    let json = workspace.target.join(format!("{}.json", suite.table()));
    let is_simulated = matches!(suite, Suite::Gossip | Suite::GossipMemberlist);
    if !is_simulated && !matches!(suite, Suite::Ring | Suite::Failover) {
        // The bench starts it, and measures its size.
        crate::workspace::run(&mut workspace.cargo(&[
            "build",
            "--release",
            "--quiet",
            "--package",
            "distributor-cli",
        ]))?;
    }
    let mut command = workspace.cargo(&[
        "run",
        "--release",
        "--quiet",
        "--package",
        "bench",
        "--bin",
        program,
        "--",
    ]);
    if matches!(suite, Suite::Scale) {
        command.arg("scale");
    }
    command.arg("--json").arg(&json);
    if quick {
        command.arg("--quick");
    }
    if let Some(seed) = seed {
        command.arg("--seed").arg(seed);
    }
    if matches!(suite, Suite::GossipMemberlist) {
        command.arg("--memberlist");
    }
    if is_simulated {
        println!("simulating; a full run takes a quarter of an hour");
        // How far it is, and the seed.
        command.stderr(Stdio::inherit());
    }
    if matches!(suite, Suite::Ring) {
        peers::run(workspace, &["memberlist-go".to_owned()])?;
        command.env("PEERS_DIR", peers::folder(workspace));
        command.stderr(Stdio::inherit());
    }
    if matches!(suite, Suite::Grpc) {
        command.env(
            "DISTRIBUTOR_BIN",
            workspace.target.join("release/distributor"),
        );
        command.stderr(Stdio::inherit());
    }
    if matches!(suite, Suite::Peers | Suite::Scale) {
        peers::run(workspace, &["vmagent".to_owned()])?;
        command
            .env(
                "DISTRIBUTOR_BIN",
                workspace.target.join("release/distributor"),
            )
            .env("PEERS_DIR", peers::folder(workspace))
            .stderr(Stdio::inherit());
    }
    if matches!(suite, Suite::Stores) {
        peers::run(workspace, &["etcd", "etcdctl", "consul"].map(str::to_owned))?;
        println!("\nmeasuring for several minutes");
        command
            .env(
                "DISTRIBUTOR_BIN",
                workspace.target.join("release/distributor"),
            )
            .env("PEERS_DIR", peers::folder(workspace))
            // How far it is.
            .stderr(Stdio::inherit());
    }
    let table = stdout_of(&mut command)?;
    print!("{table}");
    println!("\nmeasurements: {}", json.display());
    if quick {
        return Ok(());
    }
    let page =
        splice(&workspace.read(PAGE)?, suite.table(), &table).with_context(|| PAGE.to_owned())?;
    fs::write(workspace.root.join(PAGE), page)?;
    println!("table written: {PAGE}");
    Ok(())
}
