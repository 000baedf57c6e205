//! `distributor forget`: removes a cluster from every store, through one distributor that allows it.

use std::ffi::OsString;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use fleet_client::{Arguments, Connection, FLAGS, short};
use reqwest::{Client, StatusCode};

use crate::explain::encoded;
use crate::output::clean;
use crate::{Asked, run_with};

/// A multi store has three calls of ten seconds each.
const TIMEOUT: Duration = Duration::from_secs(40);

struct Options {
    connection: Connection,
    tenant: String,
    cluster: String,
    confirm: Option<String>,
}

fn usage() -> String {
    format!(
        "\
Usage: distributor forget --targets ADDRESS --tenant TENANT --cluster CLUSTER [--confirm REPLICA]
                          [connection flags]

Removes a cluster from the store of the elections; of a multi store, from both of its stores. A replica
that still sends is elected again by its next sample. One of the targets does it; it must have
distributor.ha_tracker.enable_forget, and logs who asked.

  --tenant              the tenant: the value of X-Scope-OrgID
  --cluster             the value of the cluster label
  --confirm             the replica that is elected now, instead of asking on the terminal
{FLAGS}
Exit status: 0 if the cluster is gone from every store; 1 if not; 64 for a wrong command line.
"
    )
}

/// Runs the command with the arguments after the word `forget`. For the binary: it makes its own
/// runtime, reads standard input and writes to standard output.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    run_with(arguments, &usage(), parse, forget)
}

fn parse(words: Vec<OsString>) -> Result<Asked<Options>, String> {
    let mut connection = Connection::default();
    let (mut tenant, mut cluster, mut confirm) = (None, None, None);
    let mut arguments = Arguments::new(words.into_iter());
    while let Some(flag) = arguments.flag()? {
        match flag.as_str() {
            "tenant" => tenant = Some(arguments.value()?),
            "cluster" => cluster = Some(arguments.value()?),
            "confirm" => confirm = Some(arguments.value()?),
            "help" | "h" => return Ok(Asked::Help),
            other if connection.take(other, &mut arguments)? => {}
            other => return Err(format!("unknown flag --{other}")),
        }
    }
    connection.check()?;
    Ok(Asked::Run(Options {
        connection,
        tenant: tenant.ok_or("--tenant is missing")?,
        cluster: cluster.ok_or("--cluster is missing")?,
        confirm,
    }))
}

async fn forget(options: Options) -> Result<(String, bool), String> {
    let client = options.connection.client()?;
    let (target, replica) = elected(&client, &options).await?;
    let confirm = match &options.confirm {
        Some(confirm) => confirm.clone(),
        None => ask(&options, &replica)?,
    };
    if confirm != replica {
        return Err(format!(
            "not confirmed: {replica:?} is elected, not {confirm:?}; nothing was changed"
        ));
    }
    let (status, text) = send(&client, &target, &options, &confirm).await?;
    let is_done = status == StatusCode::OK;
    let name = format!("{}/{}", options.tenant, options.cluster);
    let outcome = match is_done {
        true => "forgotten",
        false => "NOT forgotten in every store",
    };
    Ok((
        clean(&format!("{name}: {outcome} ({text})")) + "\n",
        is_done,
    ))
}

/// The first target that answers, and who is elected according to its store.
async fn elected(client: &Client, options: &Options) -> Result<(String, String), String> {
    let mut problems = Vec::new();
    for target in options.connection.resolved().await {
        let target = match target {
            Ok(target) => target,
            Err((name, error)) => {
                problems.push(format!("{name}: {error}"));
                continue;
            }
        };
        match send(client, &target, options, "").await {
            Ok((StatusCode::CONFLICT, replica)) => return Ok((target, replica)),
            Ok((StatusCode::METHOD_NOT_ALLOWED, _)) => {
                problems.push(format!("{}: its version cannot forget", short(&target)));
            }
            Ok((status, text)) => {
                problems.push(format!("{}: {}: {text}", short(&target), status.as_u16()));
            }
            Err(error) => problems.push(format!("{}: {error}", short(&target))),
        }
    }
    Err(clean(&problems.join("\n")))
}

/// Status and text of the answer.
async fn send(
    client: &Client,
    target: &str,
    options: &Options,
    confirm: &str,
) -> Result<(StatusCode, String), String> {
    let url = format!(
        "{target}/distributor/ha_tracker/forget?tenant={}&cluster={}&confirm={}",
        encoded(&options.tenant),
        encoded(&options.cluster),
        encoded(confirm)
    );
    let answer = client.delete(url).timeout(TIMEOUT).send().await;
    // Without the URL, which is long.
    let answer = answer.map_err(|error| error.without_url().to_string())?;
    let status = answer.status();
    let text = answer.text().await.map_err(|error| error.to_string())?;
    Ok((status, text.trim_end_matches('\n').to_owned()))
}

/// What the operator types.
fn ask(options: &Options, replica: &str) -> Result<String, String> {
    if !io::stdin().is_terminal() {
        return Err(format!(
            "{replica:?} is elected; to forget the cluster without a terminal, add --confirm \
             {replica}; nothing was changed"
        ));
    }
    let question = format!(
        "{}/{}: {replica:?} is elected. Its election is removed from every store. Type the name of \
         the elected replica to go on: ",
        options.tenant, options.cluster
    );
    let mut out = io::stderr();
    let _ = write!(out, "{}", clean(&question)).and_then(|()| out.flush());
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.map_err(|error| error.to_string())?;
    Ok(line.trim().to_owned())
}
