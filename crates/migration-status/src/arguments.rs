//! The command line.

use std::ffi::OsString;
use std::time::Duration;

use settings::parse_duration;

use crate::steps::Step;

pub(crate) const USAGE: &str = "\
Usage: distributor migration status --targets ADDRESS,... [--watch] [--interval 2s] [--step N]
                                    [--expect N] [--shared-ring] [--json] [--ca-file FILE]
                                    [--insecure] [--cert-file FILE --key-file FILE]

Says how far a fleet of distributors is on its way from Consul or etcd to memberlist, whether all of
them agree, and whether the next step is safe; if it is not, why, and what to do. It asks each
distributor for its pages and metrics twice, and changes nothing.

  --targets     every distributor of the fleet: host:port, http://host:port or https://host:port,
                with a path before the pages' own if there is one; dns+host:port and
                dns+https://host:port stand for all addresses of a name (of IPv4, if it has any)
  --expect      how many distributors the fleet has: one that --targets leaves out is not seen
                before it gossips
  --shared-ring the gossip ring is Mimir's and has other members than the fleet, which is no reason to
                stop
  --watch       repeat the check until interrupted
  --interval    time between two checks (default 2s)
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
pub(crate) struct Options {
    pub(crate) targets: Vec<String>,
    pub(crate) watch: bool,
    pub(crate) interval: Duration,
    pub(crate) step: Option<Step>,
    pub(crate) expect: Option<usize>,
    pub(crate) shared_ring: bool,
    pub(crate) json: bool,
    pub(crate) ca_file: Option<String>,
    pub(crate) cert_file: Option<String>,
    pub(crate) key_file: Option<String>,
    pub(crate) insecure: bool,
}

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Help,
    Status(Options),
}

pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut arguments = arguments
        .into_iter()
        .map(|argument| argument.to_string_lossy().into_owned());
    match arguments.next().as_deref() {
        Some("status") => {}
        Some("--help" | "-help" | "-h") => return Ok(Command::Help),
        Some(other) => return Err(format!("unknown command {other:?}; there is: status")),
        None => return Err("a command is missing; there is: status".to_owned()),
    }
    let mut options = Options {
        targets: Vec::new(),
        watch: false,
        interval: Duration::from_secs(2),
        step: None,
        expect: None,
        shared_ring: false,
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
            "shared-ring" => options.shared_ring = true,
            "json" => options.json = true,
            "insecure" => options.insecure = true,
            "help" | "h" => return Ok(Command::Help),
            other => return Err(format!("unknown flag --{other}")),
        }
    }
    if options.targets.is_empty() {
        return Err("--targets is missing: name every distributor of the fleet".to_owned());
    }
    if options.cert_file.is_some() != options.key_file.is_some() {
        return Err("--cert-file and --key-file must be set together".to_owned());
    }
    Ok(Command::Status(options))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(Into::into))
    }

    #[test]
    fn arguments() {
        let Ok(Command::Status(options)) = parsed(
            "status --targets a:1,https://b/x/ -targets=dns+c:80 --watch --interval 500ms --step=3 --json",
        ) else {
            panic!("not parsed")
        };
        assert_eq!(
            options.targets,
            ["http://a:1", "https://b/x", "dns+http://c:80"]
        );
        assert!(options.watch && options.json && !options.insecure);
        assert_eq!(options.interval, Duration::from_millis(500));
        assert_eq!(options.step, Some(Step(3)));
        assert_eq!(parsed("status --help"), Ok(Command::Help));
        for (line, problem) in [
            ("", "a command is missing"),
            ("stat", "unknown command \"stat\""),
            ("status", "--targets is missing"),
            ("status --targets", "--targets needs a value"),
            ("status --targets ftp://a", "must be host:port"),
            ("status --targets a --step 6", "a number from 0 to 5"),
            ("status --targets a --interval 0s", "a duration"),
            ("status --targets a --fast", "unknown flag --fast"),
            ("status --targets a --cert-file c", "must be set together"),
            ("status a", "unknown argument \"a\""),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(problem), "{line}: {error}");
        }
    }
}
