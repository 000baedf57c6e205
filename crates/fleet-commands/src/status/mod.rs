//! `distributor status`: the fleet at a glance.

mod judge;
mod screen;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use admin_api::{BuildInfo, Condition, HaTracker, Index, MemberState, Memberlist};
use fleet_client::{Arguments, Connection, FLAGS, Target};
use futures::stream::{self, StreamExt as _};

use crate::output::Style;
use crate::pages::{CONCURRENT, Pages};
use crate::{Asked, run_with};
use judge::judge;

/// Between two readings of elections that differ: an election that is on its way is no difference.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

struct Options {
    connection: Connection,
    json: bool,
}

/// Tenant and cluster.
type Cluster = (String, String);

/// One distributor, as its pages show it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Instance {
    version: String,
    revision: String,
    /// What `/ready` says if it is not.
    not_ready: Option<String>,
    conditions: Vec<Condition>,
    /// Its gossip; `None` without.
    gossip: Option<Gossip>,
    elected: BTreeMap<Cluster, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Gossip {
    own_name: String,
    /// Names of the active members, itself included.
    active: Vec<String>,
}

/// Address, and what was seen there or why not.
type Seen = (String, Result<Instance, String>);

fn usage() -> String {
    format!(
        "\
Usage: distributor status --targets ADDRESS,... [--json] [connection flags]

Shows a fleet of distributors at a glance: versions, readiness, members of gossip, clusters, elections
that differ between distributors, and what needs attention, worst first. It reads pages and changes
nothing.

  --json                for programs
{FLAGS}
Exit status: 0 if nothing needs attention; 1 if something does, or a distributor does not answer; 64
for a wrong command line.
"
    )
}

/// Runs the command with the arguments after the word `status`. For the binary: it makes its own
/// runtime and writes to standard output.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    run_with(arguments, &usage(), parse, status)
}

fn parse(words: Vec<OsString>) -> Result<Asked<Options>, String> {
    let mut options = Options {
        connection: Connection::default(),
        json: false,
    };
    let mut arguments = Arguments::new(words.into_iter());
    while let Some(flag) = arguments.flag()? {
        match flag.as_str() {
            "json" => options.json = true,
            "help" | "h" => return Ok(Asked::Help),
            other if options.connection.take(other, &mut arguments)? => {}
            other => return Err(format!("unknown flag --{other}")),
        }
    }
    options.connection.check()?;
    Ok(Asked::Run(options))
}

async fn status(options: Options) -> Result<(String, bool), String> {
    let client = options.connection.client()?;
    let targets = options.connection.resolved().await;
    let mut seen = fetch(&client, targets).await;
    if judge::elections_differ(&seen) {
        tokio::time::sleep(AGAIN_AFTER).await;
        read_elections_again(&client, &mut seen).await;
    }
    let findings = judge(&seen);
    let is_well = findings.iter().all(judge::Finding::is_note);
    let now = SystemTime::now();
    let text = match options.json {
        true => format!("{}\n", screen::json(&seen, &findings, is_well)),
        false => screen::text(&seen, &findings, now, Style::of_output()),
    };
    Ok((text, is_well))
}

async fn fetch(client: &reqwest::Client, targets: Vec<Target>) -> Vec<Seen> {
    let all = targets.into_iter().map(|target| async move {
        match target {
            Ok(target) => {
                let pages = Pages {
                    client,
                    target: &target,
                };
                let seen = instance(&pages).await;
                (target, seen)
            }
            Err((name, error)) => (name, Err(error)),
        }
    });
    stream::iter(all).buffered(CONCURRENT).collect().await
}

async fn instance(pages: &Pages<'_>) -> Result<Instance, String> {
    let (build, ready, index, members, tracker) = tokio::join!(
        pages.json::<BuildInfo>("/api/v1/status/buildinfo"),
        pages.any("/ready"),
        pages.json::<Index>("/"),
        pages.json::<Memberlist>("/memberlist"),
        pages.json::<HaTracker>("/distributor/ha_tracker"),
    );
    let (build, ready) = (build?, ready?);
    let not_ready = match ready.status {
        200 => None,
        _ => Some(ready.body.trim().replace('\n', "; ")),
    };
    Ok(Instance {
        version: build.data.version,
        revision: build.data.revision,
        not_ready,
        conditions: index?.conditions,
        gossip: gossip(members?),
        elected: elections(tracker?),
    })
}

fn gossip(page: Memberlist) -> Option<Gossip> {
    if !page.enabled {
        return None;
    }
    let own = page.members.iter().find(|member| member.is_self);
    let own_name = own.map(|own| own.name.clone()).unwrap_or_default();
    let active = page.members.into_iter();
    let active = active.filter(|member| member.state == MemberState::Active);
    let mut active: Vec<String> = active.map(|member| member.name).collect();
    active.sort();
    Some(Gossip { own_name, active })
}

fn elections(page: HaTracker) -> BTreeMap<Cluster, String> {
    page.elected
        .into_iter()
        .map(|row| ((row.tenant, row.cluster), row.replica))
        .collect()
}

async fn read_elections_again(client: &reqwest::Client, seen: &mut [Seen]) {
    for (target, instance) in seen {
        let Ok(known) = instance else {
            continue;
        };
        let pages = Pages { client, target };
        match pages.json::<HaTracker>("/distributor/ha_tracker").await {
            Ok(page) => known.elected = elections(page),
            Err(error) => *instance = Err(error),
        }
    }
}
