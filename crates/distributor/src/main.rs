//! The `distributor` binary: reads the configuration, starts the distributor, waits for a signal.

use std::process::ExitCode;

use distributor::config::{ConfigErrors, Invocation, Loaded};
use distributor::{REVISION, VERSION, config, demo, logging, migration, reference};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.first().and_then(|first| first.to_str()) {
        Some("docs") => return print_docs(arguments.get(1).and_then(|which| which.to_str())),
        Some("demo") => return demo::run(arguments.into_iter().skip(1)),
        Some("migration") => return migration::run(arguments.into_iter().skip(1)),
        Some("run") => drop(arguments.remove(0)),
        _ => {}
    }
    match config::load(arguments, std::env::vars_os()) {
        Ok(Invocation::Run(loaded)) => run(*loaded),
        Ok(Invocation::Check(loaded)) => {
            for warning in &loaded.warnings {
                eprintln!("warning: {warning}");
            }
            println!("the configuration is valid");
            ExitCode::SUCCESS
        }
        Ok(Invocation::Help(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Ok(Invocation::Version) => {
            println!("distributor {VERSION} (revision {REVISION})");
            ExitCode::SUCCESS
        }
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::from(ConfigErrors::EXIT_CODE)
        }
    }
}

/// The generated references; `cargo xtask codegen` writes them to `docs/`.
fn print_docs(which: Option<&str>) -> ExitCode {
    match which {
        Some("configuration") => print!("{}", config::reference_markdown()),
        Some("metrics") => {
            let page = tokio::runtime::Runtime::new()
                .map_err(Into::into)
                .and_then(|runtime| runtime.block_on(reference::metrics_markdown()));
            match page {
                Ok(page) => print!("{page}"),
                Err(error) => {
                    eprintln!("cannot make the metrics reference: {error}");
                    return ExitCode::FAILURE;
                }
            }
        }
        _ => {
            eprintln!("usage: distributor docs configuration|metrics");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn run(loaded: Loaded) -> ExitCode {
    if let Err(error) = logging::init(&loaded.config.server) {
        eprintln!("cannot set up logging: {error}");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(serve(loaded))
}

async fn serve(loaded: Loaded) -> ExitCode {
    // Before anything that takes time: a signal during the start ends it cleanly as well.
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        tracing::error!("cannot listen for signals");
        return ExitCode::FAILURE;
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let begun = tokio::time::Instant::now();
    let mut running = match distributor::start(loaded.config).await {
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
    loop {
        let why = tokio::select! {
            () = &mut ready, if !was_ready => {
                was_ready = true;
                tracing::info!(after_ms = begun.elapsed().as_millis() as u64, "ready");
                continue;
            }
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            what = running.failed() => {
                tracing::error!(what, "giving up");
                return ExitCode::FAILURE;
            }
        };
        tracing::info!(why, "shutting down: finishing requests in flight");
        running.shutdown().await;
        tracing::info!("stopped");
        return ExitCode::SUCCESS;
    }
}
