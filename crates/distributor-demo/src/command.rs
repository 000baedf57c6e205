//! The command: its arguments, the runtime, the signals.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use command_output::{EXIT_USAGE, complain, print};
use distributor::signals::{Asked, Signals};

use crate::display::Display;
use crate::error::DemoError;
use crate::runner::Runner;
use crate::script::{Mode, Script};
use crate::summary::{Ending, INTERRUPTED, Summary};

const USAGE: &str = "\
Usage: distributor demo [--quick] [--plain] [--failover classic]

Shows distributors at work, in less than a minute and without any other software: two senders of an
HA pair push by remote write to three distributors in turn, which know of each other's elections by
gossip, and forward to a sink that checks what it gets. One distributor is killed. Then the elected
sender is stopped, the other one is elected, the first one comes back. Nothing is missing at the sink.

  --quick    all of it in about 25 seconds
  --plain    lines instead of the live view, as when the output is no terminal
  --failover classic
             samples sent during the failover are lost, as with Mimir's distributor; by default
             (lossless), they are held and forwarded (limits.ha_failover_mode)

Exit status: 0 if no sample was doubled and none lost, else 1; 64 for a wrong command line; 130 if
it was interrupted. A second Ctrl-C ends it without the summary.
";

#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    quick: bool,
    plain: bool,
    help: bool,
    mode: Mode,
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Options, String> {
    let mut options = Options::default();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--failover" | "-failover") => options.mode = mode(arguments.next().as_deref())?,
            Some(text) if text.starts_with("--failover=") || text.starts_with("-failover=") => {
                let value = text.split_once('=').map(|(_, value)| OsStr::new(value));
                options.mode = mode(value)?;
            }
            Some("--quick" | "-quick") => options.quick = true,
            Some("--plain" | "-plain") => options.plain = true,
            Some("--help" | "-help" | "-h") => options.help = true,
            _ => return Err(format!("unknown argument {argument:?}")),
        }
    }
    Ok(options)
}

fn mode(value: Option<&OsStr>) -> Result<Mode, String> {
    match value.and_then(OsStr::to_str) {
        Some("classic") => Ok(Mode::Classic),
        Some("lossless") => Ok(Mode::Lossless),
        _ => Err("--failover needs classic or lossless".to_owned()),
    }
}

/// Runs the demo with the arguments after the word `demo`, on standard output. For the binary: it
/// makes its own runtime and takes the process's signals.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = match parse(arguments) {
        Ok(options) => options,
        Err(error) => {
            complain(format_args!("{error}\n\n{}", USAGE.trim_end()));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if options.help {
        return print(USAGE, 0);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ended = runtime
        .map_err(DemoError::Io)
        .and_then(|runtime| runtime.block_on(run_demo(&options)));
    match ended {
        Ok(Some(summary)) => print(&format!("\n{}", summary.text()), summary.exit_code()),
        Ok(None) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            complain(format_args!("the demo cannot start: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Nothing when it was interrupted before there was anything to tell, or twice.
async fn run_demo(options: &Options) -> Result<Option<Summary>, DemoError> {
    let mut script = if options.quick {
        Script::QUICK
    } else {
        Script::FULL
    };
    script.mode = options.mode;
    let mut signals = Signals::listen()?;
    let mut runner = tokio::select! {
        runner = Runner::start(script) => runner?,
        () = interrupted(&mut signals) => return Ok(None),
    };
    let mut display = Display::open(options.plain);
    let ending = tokio::select! {
        ending = runner.run(&mut display) => ending,
        () = interrupted(&mut signals) => Ending::Interrupted,
    };
    tokio::select! {
        summary = runner.end(&mut display, ending) => Ok(Some(summary)),
        () = interrupted(&mut signals) => Ok(None),
    }
}

/// There is nothing to read again: a terminal that hangs up ends the demo.
async fn interrupted(signals: &mut Signals) {
    while let Asked::Nothing(_) = signals.next().await {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_checked() {
        let parse = |arguments: &[&str]| parse(arguments.iter().map(OsString::from));
        assert_eq!(parse(&[]), Ok(Options::default()));
        let both = Options {
            quick: true,
            plain: true,
            help: false,
            mode: Mode::Lossless,
        };
        assert_eq!(parse(&["--plain", "-quick"]), Ok(both));
        assert!(parse(&["--fast"]).is_err());
        for arguments in [&["--failover", "classic"][..], &["-failover=classic"]] {
            assert_eq!(parse(arguments).unwrap().mode, Mode::Classic);
        }
        for arguments in [&["--failover"][..], &["--failover", "fast"]] {
            assert!(parse(arguments).is_err());
        }
    }
}
