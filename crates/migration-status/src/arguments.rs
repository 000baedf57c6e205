//! The command line.

use std::ffi::OsString;
use std::time::Duration;

use fleet_client::{Arguments, Connection, FLAGS};
use settings::parse_duration;

use crate::steps::Step;

/// What `--help` prints.
pub(crate) fn usage() -> String {
    format!(
        "\
Usage: distributor migration status --targets ADDRESS,... [--watch] [--interval 2s] [--step N]
                                    [--expect N] [--shared-ring] [--json] [connection flags]

Says how far a fleet of distributors is on its way from Consul or etcd to memberlist, whether all of
them agree, and whether the next step is safe; if it is not, why, and what to do. It asks each
distributor for its pages and metrics twice, and changes nothing.

  --expect              how many distributors the fleet has: one that --targets leaves out is not
                        seen before it gossips
  --shared-ring         the gossip ring is Mimir's and has other members than the fleet, which is no
                        reason to stop
  --watch               repeat the check until interrupted
  --interval            time between two checks (default 2s)
  --step                succeed only if the whole fleet is on this step, 0 to 5
  --json                for programs
{FLAGS}
Exit status: 0 if the next step is safe, or all is done; 1 if not, or if the fleet is on another step
than --step; 64 for a wrong command line.
"
    )
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Options {
    pub(crate) connection: Connection,
    pub(crate) watch: bool,
    pub(crate) interval: Duration,
    pub(crate) step: Option<Step>,
    pub(crate) expect: Option<usize>,
    pub(crate) shared_ring: bool,
    pub(crate) json: bool,
}

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Help,
    Status(Box<Options>),
}

pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut words = arguments.into_iter();
    let command = words.next().map(|word| word.to_string_lossy().into_owned());
    match command.as_deref() {
        Some("status") => {}
        Some("--help" | "-help" | "-h") => return Ok(Command::Help),
        Some(other) => return Err(format!("unknown command {other:?}; there is: status")),
        None => return Err("a command is missing; there is: status".to_owned()),
    }
    let mut options = Options {
        connection: Connection::default(),
        watch: false,
        interval: Duration::from_secs(2),
        step: None,
        expect: None,
        shared_ring: false,
        json: false,
    };
    let mut arguments = Arguments::new(words);
    while let Some(flag) = arguments.flag()? {
        match flag.as_str() {
            "interval" => {
                let text = arguments.value()?;
                options.interval = parse_duration(&text)
                    .filter(|interval| !interval.is_zero())
                    .ok_or_else(|| format!("--interval {text}: must be a duration such as 2s"))?;
            }
            "step" => {
                let text = arguments.value()?;
                let step = text.parse().ok().map(Step);
                options.step = Some(
                    step.filter(|step| *step <= Step::LAST)
                        .ok_or_else(|| format!("--step {text}: must be a number from 0 to 5"))?,
                );
            }
            "expect" => {
                let text = arguments.value()?;
                let number = text.parse().ok().filter(|number| *number > 0);
                let problem = || format!("--expect {text}: must be a number above 0");
                options.expect = Some(number.ok_or_else(problem)?);
            }
            "watch" => options.watch = true,
            "shared-ring" => options.shared_ring = true,
            "json" => options.json = true,
            "help" | "h" => return Ok(Command::Help),
            other if options.connection.take(other, &mut arguments)? => {}
            other => return Err(format!("unknown flag --{other}")),
        }
    }
    options.connection.check()?;
    Ok(Command::Status(Box::new(options)))
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
            options.connection.targets(),
            ["http://a:1", "https://b/x", "dns+http://c:80"]
        );
        assert!(options.watch && options.json);
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
