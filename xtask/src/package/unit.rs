//! The systemd unit, as it is installed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Package;
use crate::workspace::{run, stdout_of};

const UNIT: &str = "usr/lib/systemd/system/ha-distributor.service";
/// Tenths of the exposure, from 0 to 100, above which `systemd-analyze security` fails.
const MOST_EXPOSURE: &str = "15";
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
    std::fs::create_dir_all(shell.parent().context("it is in a folder")?)?;
    std::fs::copy("/bin/kill", &shell).context("copying /bin/kill")?;
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
