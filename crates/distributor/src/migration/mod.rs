//! `distributor migration status`: which step of a migration to memberlist a fleet is on, whether all
//! agree, and whether the next step is safe.

mod judge;
mod look;
mod screen;
mod seen;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::config::parse_duration;
use tls_files::ClientFiles;

use crate::console::{EXIT_USAGE, complain, print};
use judge::{Place, Verdict, judge};
use look::{Target, look};
use screen::{Style, render, to_json};
use seen::Step;

const USAGE: &str = "\
Usage: distributor migration status --targets ADDRESS,... [--watch] [--interval 2s] [--step N]
                                    [--expect N] [--json] [--ca-file FILE] [--insecure]
                                    [--cert-file FILE --key-file FILE]

Says how far a fleet of distributors is on its way from Consul or etcd to memberlist, whether all of
them agree, and whether the next step is safe; if it is not, why, and what to do. It asks each
distributor for its pages and metrics twice, and changes nothing.

  --targets     every distributor of the fleet: host:port, http://host:port or https://host:port,
                with a path before the pages' own if there is one; dns+host:port and
                dns+https://host:port stand for all addresses of a name (of IPv4, if it has any)
  --expect      how many distributors the fleet has: one that --targets leaves out is not seen
                before it gossips
  --watch       look again and again, until interrupted
  --interval    time between two looks (default 2s)
  --step        succeed only if the whole fleet is on this step, 0 to 5
  --json        for programs
  --ca-file     trust these certificate authorities, a PEM file, instead of the system's
  --insecure    accept any certificate
  --cert-file   show this client certificate, a PEM file, to servers that ask for one
  --key-file    its private key, a PEM file

Exit status: 0 if the next step is safe, or all is done; 1 if not, or if the fleet is on another step
than --step; 64 for a wrong command line.
";

#[derive(Debug, Clone, PartialEq)]
struct Options {
    targets: Vec<String>,
    watch: bool,
    interval: Duration,
    step: Option<Step>,
    expect: Option<usize>,
    json: bool,
    ca_file: Option<String>,
    cert_file: Option<String>,
    key_file: Option<String>,
    insecure: bool,
}

/// What the command line asks for.
#[derive(Debug, PartialEq)]
enum Asked {
    Help,
    Status(Options),
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked, String> {
    let mut arguments = arguments
        .into_iter()
        .map(|argument| argument.to_string_lossy().into_owned());
    match arguments.next().as_deref() {
        Some("status") => {}
        Some("--help" | "-help" | "-h") => return Ok(Asked::Help),
        Some(other) => return Err(format!("unknown command {other:?}; there is: status")),
        None => return Err("a command is missing; there is: status".to_owned()),
    }
    let mut options = Options {
        targets: Vec::new(),
        watch: false,
        interval: Duration::from_secs(2),
        step: None,
        expect: None,
        json: false,
        ca_file: None,
        cert_file: None,
        key_file: None,
        insecure: false,
    };
    while let Some(argument) = arguments.next() {
        let flag = argument
            .strip_prefix("--")
            .or_else(|| argument.strip_prefix('-'))
            .ok_or_else(|| format!("unknown argument {argument:?}; flags begin with a dash"))?;
        let (flag, mut value) = match flag.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (flag, None),
        };
        let mut needed = || {
            let value = value.take().or_else(|| arguments.next());
            value.ok_or_else(|| format!("--{flag} needs a value"))
        };
        match flag {
            "targets" => {
                for target in needed()?.split(',').filter(|target| !target.is_empty()) {
                    options.targets.push(address(target)?);
                }
            }
            "interval" => {
                let text = needed()?;
                options.interval = parse_duration(&text)
                    .filter(|interval| !interval.is_zero())
                    .ok_or_else(|| format!("--interval {text}: must be a duration such as 2s"))?;
            }
            "step" => {
                let text = needed()?;
                let step = text.parse().ok().map(Step);
                options.step = Some(
                    step.filter(|step| *step <= Step::LAST)
                        .ok_or_else(|| format!("--step {text}: must be a number from 0 to 5"))?,
                );
            }
            "expect" => {
                let text = needed()?;
                let number = text.parse().ok().filter(|number| *number > 0);
                let problem = || format!("--expect {text}: must be a number above 0");
                options.expect = Some(number.ok_or_else(problem)?);
            }
            "ca-file" => options.ca_file = Some(needed()?),
            "cert-file" => options.cert_file = Some(needed()?),
            "key-file" => options.key_file = Some(needed()?),
            "watch" => options.watch = true,
            "json" => options.json = true,
            "insecure" => options.insecure = true,
            "help" | "h" => return Ok(Asked::Help),
            other => return Err(format!("unknown flag --{other}")),
        }
    }
    if options.targets.is_empty() {
        return Err("--targets is missing: name every distributor of the fleet".to_owned());
    }
    if options.cert_file.is_some() != options.key_file.is_some() {
        return Err("--cert-file and --key-file need each other".to_owned());
    }
    Ok(Asked::Status(options))
}

/// A target as a URL without a slash at its end, or `dns+host:port`.
fn address(target: &str) -> Result<String, String> {
    if let Some(rest) = target.strip_prefix("dns+") {
        return Ok(format!("dns+{}", address(rest)?));
    }
    let url = match target.contains("://") {
        true => target.to_owned(),
        false => format!("http://{target}"),
    };
    let parsed = url::Url::parse(&url).map_err(|error| format!("--targets {target}: {error}"))?;
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
        return Err(format!(
            "--targets {target}: must be host:port, or an http or https URL"
        ));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// All addresses that the targets stand for now: pods come and go. A name that has none is a target
/// that does not answer.
async fn resolved(targets: &[String]) -> Vec<Target> {
    let mut all = Vec::new();
    for target in targets {
        let Some(name) = target.strip_prefix("dns+") else {
            all.push(Ok(target.clone()));
            continue;
        };
        let (scheme, name) = name.split_once("://").unwrap_or(("http", name));
        match tokio::net::lookup_host(name).await {
            Ok(found) => {
                let mut found: Vec<_> = found.collect();
                // One that has addresses of both kinds is one distributor all the same.
                if found.iter().any(SocketAddr::is_ipv4) {
                    found.retain(SocketAddr::is_ipv4);
                }
                found.sort();
                found.dedup();
                all.extend(
                    found
                        .iter()
                        .map(|address| Ok(format!("{scheme}://{address}"))),
                );
            }
            Err(error) => all.push(Err((target.clone(), error.to_string()))),
        }
    }
    all
}

/// Runs the command with the arguments after the word `migration`. For the binary: it makes its own
/// runtime and writes to standard output.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = match parse(arguments) {
        Ok(Asked::Status(options)) => options,
        Ok(Asked::Help) => return print(USAGE, 0),
        Err(error) => {
            complain(format_args!("{error}\n\n{}", USAGE.trim_end()));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let told = runtime
        .map_err(|error| format!("cannot start the runtime: {error}"))
        .and_then(|runtime| runtime.block_on(tell(&options)));
    match told {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

/// The system's authorities are read only if somebody needs them.
fn client(options: &Options) -> Result<reqwest::Client, Box<dyn std::error::Error>> {
    let is_https = |target: &String| target.contains("https:");
    if !options.targets.iter().any(is_https) {
        return Ok(scrape_client::plain_client(look::PATIENCE)?);
    }
    let tls = tls_files::client_config(&ClientFiles {
        ca_file: options.ca_file.as_deref().map(Path::new),
        cert_file: options.cert_file.as_deref().map(Path::new),
        key_file: options.key_file.as_deref().map(Path::new),
        server_name: None,
        accepts_any: options.insecure,
    })?;
    Ok(scrape_client::client(tls)?)
}

/// Whether all is well, at the last look.
async fn tell(options: &Options) -> Result<bool, String> {
    let client = client(options).map_err(|error| error.to_string())?;
    let mut out = io::stdout();
    let is_terminal = out.is_terminal();
    let style = match is_terminal && std::env::var_os("NO_COLOR").is_none() {
        true => Style::Coloured,
        false => Style::Plain,
    };
    let mut before = look(&client, resolved(&options.targets).await).await;
    loop {
        tokio::time::sleep(options.interval).await;
        let now = look(&client, resolved(&options.targets).await).await;
        let verdict = judge(&before, &now, options.expect);
        let text = match options.json {
            true => format!("{}\n", to_json(&now, &verdict)),
            false => render(&before, &now, &verdict, style),
        };
        // Clears the screen, and what had been scrolled away.
        let clear = match options.watch && is_terminal && !options.json {
            true => "\x1b[H\x1b[2J\x1b[3J",
            false => "",
        };
        if write!(out, "{clear}{text}")
            .and_then(|()| out.flush())
            .is_err()
        {
            return Ok(false);
        }
        if !options.watch {
            if let Some(why) = elsewhere(options, &verdict) {
                eprintln!("{why}");
            }
            return Ok(is_well(options, &verdict));
        }
        before = now;
    }
}

/// Why the exit status is 1 whatever the fleet's state is.
fn elsewhere(options: &Options, verdict: &Verdict) -> Option<String> {
    let asked = options
        .step
        .filter(|step| verdict.place != Place::At(*step))?;
    let place = match &verdict.place {
        Place::At(step) => format!("the fleet is on step {}", step.0),
        _ => "the fleet is not on one step".to_owned(),
    };
    Some(format!(
        "{place}, not on step {} as --step demands: exit status 1",
        asked.0
    ))
}

fn is_well(options: &Options, verdict: &Verdict) -> bool {
    let is_there = |step: Step| verdict.place == Place::At(step);
    verdict.is_safe() && options.step.is_none_or(is_there)
}
