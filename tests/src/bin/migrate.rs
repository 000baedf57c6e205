//! The migration check as a program; `cargo xtask migrate` runs it and tells it where the
//! distributor and the real servers are. Exit status: 0 passed, 1 failed, 2 wrong arguments.

use std::process::ExitCode;

use e2e::migration::{OldStore, Options, Protocol, Report, Step, run};

const USAGE: &str = "\
usage: cargo xtask migrate --from consul|etcd [--protocol chitchat|memberlist] [--beside-go]
                           [--chart | --runtime] [--chaos] [--failover]
                           [--rollback-at STEP | --change-to chitchat|memberlist] [--quick] [--keep]";

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    for variable in ["DISTRIBUTOR_BIN", "PEERS_DIR"] {
        if std::env::var_os(variable).is_none() {
            eprintln!("{variable} is not set; `cargo xtask migrate` does it");
            return ExitCode::from(2);
        }
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let report: Report = runtime.block_on(run(&options));
    println!("{}", report.summary());
    match report.is_ok() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut from: Option<OldStore> = None;
    // The store is known in the end only.
    let mut options = Options {
        quick: false,
        ..Options::quick(OldStore::Consul)
    };
    while let Some(argument) = arguments.next() {
        let mut value = || {
            let value = arguments.next();
            value.ok_or_else(|| format!("{argument} needs a value"))
        };
        match argument.as_str() {
            "--from" => from = Some(value()?.parse()?),
            "--protocol" => options.protocol = value()?.parse()?,
            "--rollback-at" => {
                let text = value()?;
                let number: u8 = text
                    .parse()
                    .map_err(|_| format!("--rollback-at {text}: not a step"))?;
                let step = Step::new(number)?;
                if step == Step::FIRST {
                    return Err("--rollback-at 0: there is nothing to roll back".to_owned());
                }
                options.rollback_at = Some(step);
            }
            "--chart" => options.chart = true,
            "--change-to" => options.change_to = Some(value()?.parse()?),
            "--beside-go" => {
                options.beside_go = true;
                options.protocol = Protocol::Memberlist;
            }
            "--runtime" => options.runtime = true,
            "--chaos" => options.chaos = true,
            "--failover" => options.failover = true,
            "--quick" => options.quick = true,
            "--keep" => options.keep = true,
            other => return Err(format!("unknown argument: {other}")),
        }
    }
    options.from = from.ok_or("--from is missing")?;
    check_combination(&options)?;
    Ok(options)
}

/// Whether these can be together.
fn check_combination(options: &Options) -> Result<(), String> {
    let is_the_charts = options.from == OldStore::Consul && options.protocol == Protocol::Chitchat;
    let is_chitchat =
        [Some(options.protocol), options.change_to].contains(&Some(Protocol::Chitchat));
    let problem = if options.chart && (options.runtime || !is_the_charts) {
        "--chart: from consul, by chitchat and without --runtime, as the chart's golden files are"
    } else if options.chart && options.change_to.is_some() {
        "--chart: its golden files have one protocol"
    } else if options.change_to == Some(options.protocol) {
        "--change-to: the fleet has this protocol already"
    } else if options.change_to.is_some() && options.rollback_at.is_some() {
        "--change-to goes back from the last step, --rollback-at from another"
    } else if options.beside_go && is_chitchat {
        "--beside-go: members in Go do not speak chitchat"
    } else {
        return Ok(());
    };
    Err(problem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments() {
        let options = parsed("--chaos --from etcd --rollback-at 3").unwrap();
        assert_eq!(options.from, OldStore::Etcd);
        assert_eq!(options.rollback_at.map(Step::number), Some(3));
        assert!(options.chaos && !options.quick && !options.runtime);
        assert_eq!(options.protocol, Protocol::Chitchat);
        let options = parsed("--from etcd --protocol memberlist").unwrap();
        assert_eq!(options.protocol, Protocol::Memberlist);
        assert!(parsed("--from consul --chart").unwrap().chart);
        let options = parsed("--from etcd --beside-go").unwrap();
        assert_eq!(options.protocol, Protocol::Memberlist);
        let options = parsed("--from etcd --change-to memberlist").unwrap();
        assert_eq!(options.change_to, Some(Protocol::Memberlist));
        for wrong in [
            "",
            "--from",
            "--from memberlist",
            "--from etcd --rollback-at 0",
            "--from etcd --rollback-at 6",
            "--from etcd --rollback-at x",
            "--from etcd --protocol raft",
            "--from etcd --change-to chitchat",
            "--from etcd --change-to memberlist --rollback-at 3",
            "--from etcd --beside-go --protocol chitchat",
            "--from etcd --beside-go --change-to chitchat",
            "--from etcd --fast",
            "--from etcd --chart",
            "--from consul --chart --runtime",
            "--from consul --chart --change-to memberlist",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
