//! The systemd unit, as it is installed: checked, and run by a systemd.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Package;
use crate::workspace::{run, stdout_of};

const UNIT: &str = "usr/lib/systemd/system/ha-distributor.service";
/// Tenths of the exposure, from 0 to 100, above which `systemd-analyze security` fails.
const MOST_EXPOSURE: &str = "15";
/// Boots a systemd with the package installed.
const BOOT: &str = include_str!("boot.sh");
/// What that systemd does with the unit.
const TRIAL: &str = include_str!("trial.sh");
/// systemd as a first process.
const SYSTEMD: &str = "/usr/lib/systemd/systemd";
/// Seconds for all of it, on a machine that tests keep busy.
const TRIAL_TIME: &str = "300";
/// The first version of systemd that judges units which are not installed.
const OLDEST: u32 = 250;

/// Has systemd check the unit in `root`, and how exposed it is. Not where there is no systemd.
pub(super) fn check(package: &Package<'_>, root: &Path) -> Result<()> {
    let unit = root.join(UNIT);
    ensure!(unit.is_file(), "no {UNIT}");
    let version = Command::new("systemd-analyze").arg("--version").output();
    let version = version.ok().and_then(|output| {
        let text = String::from_utf8(output.stdout).ok()?;
        text.split_whitespace().nth(1)?.parse::<u32>().ok()
    });
    let Some(version) = version.filter(|version| *version >= OLDEST) else {
        println!("no systemd-analyze from {OLDEST} on: the unit was not checked");
        return Ok(());
    };
    // Programs that the unit starts are not in a package of ours.
    let shell = root.join("bin/kill");
    fs::create_dir_all(shell.parent().context("it is in a folder")?)?;
    fs::copy("/bin/kill", &shell).context("copying /bin/kill")?;
    let mut verify = package.command("systemd-analyze");
    verify
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .arg(format!("--root={}", root.display()))
        .arg("ha-distributor.service");
    run(&mut verify)?;
    let mut security = package.command("systemd-analyze");
    security
        .args([
            "security",
            "--offline=true",
            "--no-pager",
            "--threshold",
            MOST_EXPOSURE,
        ])
        .arg(&unit);
    let table = stdout_of(&mut security).context("the unit is too exposed")?;
    let verdict = table.lines().last().unwrap_or_default();
    println!(
        "systemd {version}: {}",
        verdict.trim_start_matches(['→', ' '])
    );
    Ok(())
}

/// Has a systemd, as the first process of a container, start, reload, restart and stop the unit of `deb`.
/// Not where there is none, or no container can be made.
pub(super) fn run_by_systemd(package: &Package<'_>, deb: &Path) -> Result<()> {
    if !Path::new(SYSTEMD).exists() {
        println!("no {SYSTEMD}: the unit was not run");
        return Ok(());
    }
    let (scratch, trial) = (tempfile::tempdir()?, tempfile::tempdir()?);
    fs::write(trial.path().join("trial.sh"), TRIAL)?;
    let mut container = package.command("timeout");
    container
        .args(["--kill-after=10", TRIAL_TIME, "unshare", "--kill-child"])
        .args(["--mount", "--pid", "--fork", "--ipc", "--uts", "--cgroup"])
        .args(["--net", "sh", "-c", BOOT, "sh"])
        .arg(scratch.path())
        .arg(deb)
        .arg(trial.path());
    // How it exits says how the container ended, which is by being powered off.
    let output = container.output().context("starting timeout")?;
    if !trial.path().join("begun").exists() {
        let why = String::from_utf8_lossy(&output.stderr);
        println!("no container could be made: the unit was not run ({why})");
        return Ok(());
    }
    let outcome = fs::read_to_string(trial.path().join("outcome")).unwrap_or_default();
    let log = fs::read_to_string(trial.path().join("log")).unwrap_or_default();
    ensure!(outcome == "done\n", "the unit, run by systemd:\n{log}");
    println!(
        "run by systemd: started, reloaded, started again after a crash, not after a mistake, stopped"
    );
    Ok(())
}
