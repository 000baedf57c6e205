//! `cargo xtask migrate`: moves a fleet under load from Consul or etcd to memberlist, and judges
//! what became of its samples.

use anyhow::{Result, bail};

use crate::peers;
use crate::workspace::{Workspace, run as run_command};

/// `migrate --from consul|etcd [--protocol chitchat|memberlist] [--beside-go] [--chart | --runtime]
/// [--chaos] [--failover] [--rollback-at STEP | --change-to PROTOCOL] [--quick] [--keep]`. The program
/// checks the arguments.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    for package in ["e2e", "distributor-cli"] {
        let mut build = workspace.cargo(&["build", "--quiet", "--bins", "--package", package]);
        if package == "distributor-cli" {
            build.arg("--release");
        }
        run_command(&mut build)?;
    }
    peers::run(workspace, &["etcd", "etcdctl", "consul"].map(str::to_owned))?;
    if arguments.iter().any(|argument| argument == "--beside-go") {
        peers::run(workspace, &["memberlist-go".to_owned()])?;
    }
    let mut program = std::process::Command::new(workspace.target.join("debug/migrate"));
    program
        .args(arguments)
        .env(
            "DISTRIBUTOR_BIN",
            workspace.target.join("release/distributor"),
        )
        .env("PEERS_DIR", peers::folder(workspace));
    println!();
    let status = program.status()?;
    if !status.success() {
        bail!("the check did not pass: {status}");
    }
    Ok(())
}
