//! Commands for operators: `distributor status`, a fleet at a glance; `distributor explain`, who is
//! elected in a cluster and what becomes of a replica's samples; `distributor forget`, which removes a
//! cluster from every store.
//!
//! Pages of every distributor are fetched; what they say is judged by pure functions; the result is
//! shown to people or, with `--json`, to programs. They know the pages' JSON ([`admin_api`]) and nothing
//! else of the distributors, which may have another version. Only `forget` changes anything.

mod explain;
mod forget;
mod output;
mod pages;
mod status;

use std::ffi::OsString;
use std::process::ExitCode;

use command_output::{EXIT_USAGE, complain, print};

pub use explain::run as explain;
pub use forget::run as forget;
pub use status::run as status;

/// What a command line asks for.
enum Asked<O> {
    Help,
    Run(O),
}

/// Parses the command line, makes a runtime, and runs.
fn run_with<O>(
    arguments: impl IntoIterator<Item = OsString>,
    usage: &str,
    parse: impl FnOnce(Vec<OsString>) -> Result<Asked<O>, String>,
    command: impl AsyncFnOnce(O) -> Result<(String, bool), String>,
) -> ExitCode {
    let options = match parse(arguments.into_iter().collect()) {
        Ok(Asked::Run(options)) => options,
        Ok(Asked::Help) => return print(usage, 0),
        Err(error) => {
            complain(format_args!("{error}\n\n{}", usage.trim_end()));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let result = runtime
        .map_err(|error| format!("cannot start the runtime: {error}"))
        .and_then(|runtime| runtime.block_on(command(options)));
    match result {
        Ok((text, is_well)) => print(&text, u8::from(!is_well)),
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}
