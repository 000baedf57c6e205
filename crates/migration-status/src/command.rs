//! The command: fetches twice, judges, prints; repeatedly with `--watch`.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use command_output::{EXIT_USAGE, complain, print};

use crate::arguments::{Command, Options, parse, usage};
use crate::fetch::fetch;
use crate::json::to_json;
use crate::judge::{Place, Verdict, judge};
use crate::screen::{Style, render};
use crate::steps::Step;

/// Runs the command with the arguments after the word `migration`. For the binary: it makes its own
/// runtime and writes to standard output.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = match parse(arguments) {
        Ok(Command::Status(options)) => options,
        Ok(Command::Help) => return print(&usage(), 0),
        Err(error) => {
            complain(format_args!("{error}\n\n{}", usage().trim_end()));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let is_well = runtime
        .map_err(|error| format!("cannot start the runtime: {error}"))
        .and_then(|runtime| runtime.block_on(watch(&options)));
    match is_well {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

/// Fetches, judges and prints; returns whether the last result was good.
async fn watch(options: &Options) -> Result<bool, String> {
    let client = options.connection.client()?;
    let mut out = io::stdout();
    let is_terminal = out.is_terminal();
    let style = match is_terminal && std::env::var_os("NO_COLOR").is_none() {
        true => Style::Coloured,
        false => Style::Plain,
    };
    let fetched = async || {
        let snapshot = fetch(&client, options.connection.resolved().await).await;
        match options.shared_ring {
            true => snapshot.of_targets_alone(),
            false => snapshot,
        }
    };
    let mut before = fetched().await;
    loop {
        tokio::time::sleep(options.interval).await;
        let now = fetched().await;
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
            if let Some(why) = step_mismatch(options, &verdict) {
                eprintln!("{why}");
            }
            return Ok(is_well(options, &verdict));
        }
        before = now;
    }
}

/// Why the exit status is 1 regardless of the fleet's state.
fn step_mismatch(options: &Options, verdict: &Verdict) -> Option<String> {
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
