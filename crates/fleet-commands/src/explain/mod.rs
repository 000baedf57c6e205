//! `distributor explain`: who is elected in a cluster and why, and what becomes of a replica's samples.

mod screen;

use std::ffi::OsString;
use std::process::ExitCode;

use admin_api::HaTracker;
use explanation::{Question, Rules, Scope, Seen, View, answer};
use fleet_client::{Arguments, Connection, FLAGS, Target, short};
use futures::stream::{self, StreamExt as _};
use serde_json::Value;
use settings::parse_duration;

use crate::output::Style;
use crate::pages::{CONCURRENT, Pages};
use crate::{Asked, run_with};

struct Options {
    connection: Connection,
    question: Question,
    json: bool,
}

fn usage() -> String {
    format!(
        "\
Usage: distributor explain --targets ADDRESS,... --tenant TENANT --cluster CLUSTER
                           [--replica REPLICA] [--json] [connection flags]

Says who is elected in a cluster, since when and why, which replicas each distributor sees, and when
another one may be elected. With --replica: what a sample of this replica is answered with now, and
until when. It reads pages and changes nothing.

  --tenant              the tenant: the value of X-Scope-OrgID
  --cluster             the value of the cluster label
  --replica             the value of the replica label
  --json                for programs
{FLAGS}
Exit status: 0 if all distributors agree; 1 if they do not, if one does not answer, or if none knows the
cluster; 64 for a wrong command line.
"
    )
}

/// Runs the command with the arguments after the word `explain`. For the binary: it makes its own
/// runtime and writes to standard output.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    run_with(arguments, &usage(), parse, explain)
}

fn parse(words: Vec<OsString>) -> Result<Asked<Options>, String> {
    let mut connection = Connection::default();
    let (mut tenant, mut cluster, mut replica, mut json) = (None, None, None, false);
    let mut arguments = Arguments::new(words.into_iter());
    while let Some(flag) = arguments.flag()? {
        match flag.as_str() {
            "tenant" => tenant = Some(arguments.value()?),
            "cluster" => cluster = Some(arguments.value()?),
            "replica" => replica = Some(arguments.value()?),
            "json" => json = true,
            "help" | "h" => return Ok(Asked::Help),
            other if connection.take(other, &mut arguments)? => {}
            other => return Err(format!("unknown flag --{other}")),
        }
    }
    connection.check()?;
    Ok(Asked::Run(Options {
        connection,
        question: Question {
            tenant: tenant.ok_or("--tenant is missing")?,
            cluster: cluster.ok_or("--cluster is missing")?,
            replica,
        },
        json,
    }))
}

async fn explain(options: Options) -> Result<(String, bool), String> {
    let client = options.connection.client()?;
    let targets = options.connection.resolved().await;
    let question = &options.question;
    let seen = fetch(&client, targets, question).await;
    let named = seen
        .iter()
        .map(|(target, view)| (short(target).to_owned(), view.clone()));
    let answer = answer(&named.collect::<Vec<Seen>>(), question, Scope::Fleet);
    let text = match options.json {
        true => format!("{}\n", screen::json(&seen, question, &answer)),
        false => screen::text(&seen, question, &answer, Style::of_output()),
    };
    Ok((text, answer.is_well))
}

async fn fetch(client: &reqwest::Client, targets: Vec<Target>, question: &Question) -> Vec<Seen> {
    let all = targets.into_iter().map(|target| async move {
        match target {
            Ok(target) => {
                let pages = Pages {
                    client,
                    target: &target,
                };
                let seen = view(&pages, question).await;
                (target, seen)
            }
            Err((name, error)) => (name, Err(error)),
        }
    });
    stream::iter(all).buffered(CONCURRENT).collect().await
}

async fn view(pages: &Pages<'_>, question: &Question) -> Result<View, String> {
    let Question {
        tenant, cluster, ..
    } = question;
    // Its filters keep what contains the text; the exact names are chosen here.
    let path = format!(
        "/distributor/ha_tracker?tenant={}&cluster={}",
        encoded(tenant),
        encoded(cluster)
    );
    let (tracker, config, runtime) = tokio::join!(
        pages.json::<HaTracker>(&path),
        pages.json::<Value>("/config"),
        pages.json::<Value>("/runtime_config?mode=diff"),
    );
    let (tracker, config, runtime) = (tracker?, config?, runtime?);
    let limit = |name: &str| {
        let own = runtime.get("overrides").and_then(|all| all.get(tenant));
        let own = own.and_then(|own| own.get(name));
        own.or_else(|| config.get("limits")?.get(name)).cloned()
    };
    let enabled = config.pointer("/distributor/ha_tracker/enable_ha_tracker");
    let timeout = limit("ha_tracker_failover_timeout");
    let is_on = |name: &str| limit(name).and_then(|value| value.as_bool()) == Some(true);
    let text = |name: &str| {
        let value = limit(name);
        let text = value.as_ref().and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let of_tenant = tracker
        .elected
        .into_iter()
        .filter(|row| row.tenant == *tenant);
    let (exact, others): (Vec<_>, Vec<_>) = of_tenant.partition(|row| row.cluster == *cluster);
    Ok(View {
        is_tracker_enabled: enabled.and_then(Value::as_bool).unwrap_or(false),
        rules: Rules {
            accepts_ha: is_on("accept_ha_samples"),
            failover_timeout: timeout.and_then(|text| parse_duration(text.as_str()?)),
            cluster_label: text("ha_cluster_label"),
            replica_label: text("ha_replica_label"),
            max_clusters: limit("ha_max_clusters")
                .and_then(|value| value.as_u64())
                .unwrap_or(0),
            is_per_sample: is_on("ha_tracker_per_sample_dedupe"),
            is_lossless: text("ha_failover_mode") == "lossless",
        },
        elected: exact.into_iter().next(),
        now: tracker.now,
        similar: others.into_iter().map(|row| row.cluster).collect(),
        // The page that was asked for has a part of them.
        clusters: None,
    })
}

/// For a query.
pub(crate) fn encoded(text: &str) -> String {
    let keeps = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    text.bytes()
        .map(|byte| match keeps(&byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded() {
        assert_eq!(encoded("a b&c=ü/-_.~"), "a%20b%26c%3D%C3%BC%2F-_.~");
    }
}
