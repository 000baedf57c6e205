//! The `distributor` binary: reads the configuration, starts the distributor, and does what signals
//! ask for.

#[cfg(feature = "profiles")]
mod heap;

use std::ffi::OsString;
use std::process::ExitCode;

use command_output::{EXIT_USAGE, complain, print};
use distributor::logging::Log;
use distributor::signals::{Asked, Signals, ignore};
#[cfg(feature = "otlp")]
use distributor::traces::{self, Traces};
use distributor::{Program, VERSION, check_store, descriptors, logging, reference};
use distributor_config::{self as config, Config, ConfigErrors, Invocation, Loaded, LogLevel};
use tokio::task::{JoinError, JoinHandle};

/// The commit that this is built from: `GIT_REVISION` of the environment, else that of the repository
/// (`build.rs`). Here, so that another commit is no reason to compile the libraries again.
const REVISION: &str = env!("GIT_REVISION");

/// What the first argument may be.
const COMMANDS: [&str; 7] = [
    "run",
    "status",
    "explain",
    "forget",
    "migration",
    "demo",
    "docs",
];

/// Of the binary alone; a program that links the library chooses its own. It gives memory back that
/// a burst or an attack has left: the system's kept more than a gigabyte of small pieces.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.first().and_then(|first| first.to_str()) {
        Some("docs") => return print_docs(arguments.get(1).and_then(|which| which.to_str())),
        Some("demo") => return distributor_demo::run(arguments.into_iter().skip(1)),
        Some("status") => return fleet_commands::status(arguments.into_iter().skip(1)),
        Some("explain") => return fleet_commands::explain(arguments.into_iter().skip(1)),
        Some("forget") => return fleet_commands::forget(arguments.into_iter().skip(1)),
        Some("migration") => return migration_status::run(arguments.into_iter().skip(1)),
        Some("run") => drop(arguments.remove(0)),
        Some(word) if !word.starts_with('-') => return unknown_command(word),
        _ => {}
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format_args!("cannot start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let exit_code = runtime.block_on(invoke(arguments));
    // A read from something that never answers is not waited for.
    runtime.shutdown_background();
    exit_code
}

fn unknown_command(word: &str) -> ExitCode {
    let meant = config::nearest(word, COMMANDS.into_iter());
    let hint = meant.map_or(String::new(), |meant| format!("; did you mean {meant}?"));
    complain(format_args!(
        "unknown command {word:?}{hint}\nThe commands are {}; without one, the distributor runs. \
         -help lists the flags.",
        COMMANDS.join(", ")
    ));
    ExitCode::from(EXIT_USAGE)
}

/// The generated references; `cargo xtask codegen` writes them to `docs/`.
fn print_docs(which: Option<&str>) -> ExitCode {
    match which {
        Some("configuration") => print(&config::reference_markdown(), 0),
        Some("metrics") => {
            let page = tokio::runtime::Runtime::new()
                .map_err(Into::into)
                .and_then(|runtime| runtime.block_on(reference::metrics_markdown()));
            match page {
                Ok(page) => print(&page, 0),
                Err(error) => {
                    complain(format_args!("cannot make the metrics reference: {error}"));
                    ExitCode::FAILURE
                }
            }
        }
        _ => {
            complain("usage: distributor docs configuration|metrics");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Apart from the runtime's workers, since it reads files.
fn load(arguments: Vec<OsString>) -> JoinHandle<Result<Invocation, ConfigErrors>> {
    let load = || config::load(arguments, std::env::vars_os(), &check_store);
    tokio::task::spawn_blocking(load)
}

/// Does what the command line asks for.
async fn invoke(arguments: Vec<OsString>) -> ExitCode {
    // Before anything that takes time: a signal during the start ends it cleanly as well.
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            complain(format_args!("cannot listen for signals: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let loaded = tokio::select! {
        loaded = load(arguments.clone()) => loaded,
        signal = signals.end() => {
            complain(format_args!("stopped by {signal} while the configuration was read"));
            return ExitCode::SUCCESS;
        }
    };
    match loaded {
        Ok(Ok(Invocation::Run(loaded))) => run(*loaded, arguments, signals).await,
        Ok(Ok(Invocation::Check(loaded))) => check(&loaded).await,
        Ok(Ok(Invocation::Print(loaded))) => print_config(&loaded),
        Ok(Ok(Invocation::Help(text))) => print(&text, 0),
        Ok(Ok(Invocation::Version)) => {
            print(&format!("distributor {VERSION} (revision {REVISION})\n"), 0)
        }
        Ok(Err(errors)) => {
            complain(errors);
            ExitCode::from(EXIT_USAGE)
        }
        Err(panicked) => {
            complain(format_args!("reading the configuration: {panicked}"));
            ExitCode::FAILURE
        }
    }
}

/// `-config.check`: also what the start would find in the files that the configuration names.
async fn check(loaded: &Loaded) -> ExitCode {
    let checked = distributor::check(&loaded.config).await;
    for warning in loaded.warnings.iter().chain(&checked.warnings) {
        complain(format_args!("warning: {warning}"));
    }
    #[cfg(feature = "otlp")]
    if let Err(problem) = traces::Settings::read(|name| std::env::var(name).ok()) {
        complain(problem);
        return ExitCode::from(EXIT_USAGE);
    }
    for mistake in &checked.mistakes {
        complain(mistake);
    }
    match checked.mistakes.is_empty() {
        true => print("the configuration is valid\n", 0),
        false => ExitCode::from(EXIT_USAGE),
    }
}

/// If the environment asks for traces. An error is the exit status.
#[cfg(feature = "otlp")]
fn start_traces() -> Result<Option<Traces>, ExitCode> {
    let settings = traces::Settings::read(|name| std::env::var(name).ok()).map_err(|problem| {
        complain(problem);
        ExitCode::from(EXIT_USAGE)
    })?;
    let traces = settings.as_ref().map(Traces::start).transpose();
    traces.map_err(|error| {
        complain(error);
        ExitCode::from(EXIT_USAGE)
    })
}

/// `-print.config`.
fn print_config(loaded: &Loaded) -> ExitCode {
    for warning in &loaded.warnings {
        complain(format_args!("warning: {warning}"));
    }
    print(&config::render_yaml(&loaded.config, config::Mode::Full), 0)
}

/// SIGHUP: applies what can change of the configuration, the level of the log, and says what cannot.
/// `config` is the one in effect.
fn reload_config(
    read: Result<Result<Invocation, ConfigErrors>, JoinError>,
    config: &mut Config,
    log: &Log,
) {
    let wanted = match read {
        Ok(Ok(Invocation::Run(loaded))) => loaded.config,
        // The arguments are those of a start.
        Ok(Ok(_)) => return,
        Ok(Err(errors)) => {
            let error = errors.to_string().replace('\n', "; ");
            tracing::error!(
                error,
                "the configuration cannot be used; the previous one stays in effect"
            );
            return;
        }
        Err(error) => {
            tracing::error!(%error, "reading the configuration failed");
            return;
        }
    };
    let level = wanted.server.log_level;
    let before = std::mem::replace(&mut config.server.log_level, level);
    if level != before {
        let tell = || tracing::info!(level = level.as_str(), "the level of the log changes");
        // While such a line is written: before it is no more, or once it is.
        let was_told = matches!(before, LogLevel::Debug | LogLevel::Info);
        if was_told {
            tell();
        }
        log.set_level(level);
        if !was_told {
            tell();
        }
    }
    let changed = config::changed_settings(config, &wanted);
    if changed.is_empty() {
        tracing::info!("the rest of the configuration has not changed");
    } else {
        tracing::warn!(
            settings = changed.join(", "),
            "settings have changed that take effect only when the process is restarted"
        );
    }
}

fn program() -> Program {
    Program {
        revision: REVISION,
        #[cfg(feature = "profiles")]
        heap: Some(std::sync::Arc::new(heap::Jemalloc)),
        #[cfg(not(feature = "profiles"))]
        heap: None,
    }
}

async fn run(loaded: Loaded, arguments: Vec<OsString>, mut signals: Signals) -> ExitCode {
    #[cfg(feature = "otlp")]
    let traces = match start_traces() {
        Ok(traces) => traces,
        Err(exit_code) => return exit_code,
    };
    #[cfg(feature = "otlp")]
    let spans = traces.as_ref().map(Traces::layer);
    #[cfg(not(feature = "otlp"))]
    let spans = None;
    // Dropped last: what is logged until the end is written.
    let log = match logging::init(&loaded.config.server, spans) {
        Ok(log) => log,
        Err(error) => {
            complain(format_args!("cannot set up logging: {error}"));
            return ExitCode::FAILURE;
        }
    };
    descriptors::raise_limit();
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let mut config = loaded.config;
    let begun = tokio::time::Instant::now();
    let started = tokio::select! {
        started = distributor::start_within(program(), config.clone()) => started,
        signal = signals.end() => {
            tracing::info!(why = signal, "stopped before the start was complete");
            return ExitCode::SUCCESS;
        }
    };
    let mut running = match started {
        Ok(running) => running,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            return ExitCode::FAILURE;
        }
    };
    tracing::info!(
        version = VERSION,
        revision = REVISION,
        http = %running.http_address,
        grpc = %running.grpc_address,
        "listening"
    );
    let ready = running.ready();
    tokio::pin!(ready);
    let mut was_ready = false;
    let why = loop {
        tokio::select! {
            () = &mut ready, if !was_ready => {
                was_ready = true;
                let (clusters, other_members) = running.found();
                tracing::info!(
                    after_ms = begun.elapsed().as_millis() as u64,
                    clusters,
                    other_members,
                    "ready"
                );
            }
            asked = signals.next() => match asked {
                Asked::End(signal) => break signal,
                Asked::Reload => {
                    reload_config(load(arguments.clone()).await, &mut config, &log);
                    running.reload().await;
                }
                Asked::Nothing(signal) => ignore(signal),
            },
            what = running.failed() => {
                tracing::error!(%what, "giving up");
                return ExitCode::FAILURE;
            }
        }
    };
    tracing::info!(
        why,
        "shutting down: finishing requests in flight; a second signal exits at once"
    );
    tokio::select! {
        () = running.shutdown() => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        signal = signals.end() => {
            tracing::warn!(
                why = signal,
                "exiting at once after a second signal: requests in flight get no answer, and \
                 senders repeat them"
            );
            ExitCode::FAILURE
        }
    }
}
