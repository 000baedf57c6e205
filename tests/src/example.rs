//! The examples of the crates, and programs outside of the workspace that use them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::{Process, Recipe};
use peers::target_folder;

/// Starts an example of `ha-tracker` with these arguments.
pub fn example(name: &str, example: &str, arguments: &[String]) -> Process {
    example_with(name, example, arguments, &[])
}

/// The same, with variables of the environment.
pub fn example_with(
    name: &str,
    example: &str,
    arguments: &[String],
    environment: &[(&str, &str)],
) -> Process {
    let variable = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let recipe = Recipe {
        program: folder().join(example),
        arguments: arguments.iter().map(OsString::from).collect(),
        environment: environment.iter().map(variable).collect(),
    };
    Process::start(name, Process::folder_for(name), recipe)
}

/// `EXAMPLES_DIR`, or built once from the workspace.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        if let Some(folder) = std::env::var_os("EXAMPLES_DIR") {
            return folder.into();
        }
        let target = target_folder();
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "ha-tracker"])
            .args(["--package", "kv-election", "--features", "ha-tracker/grpc"])
            .arg("--examples")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("CARGO_TARGET_DIR", &target)
            .status()
            .unwrap();
        assert!(status.success(), "cargo build of the examples: {status}");
        target.join("debug/examples")
    })
}

/// Starts a program of `tests/services` with these arguments.
pub fn service(service: &str, arguments: &[String]) -> Process {
    let recipe = Recipe {
        program: services().join(format!("service-{service}")),
        arguments: arguments.iter().map(OsString::from).collect(),
        environment: Vec::new(),
    };
    Process::start(service, Process::folder_for(service), recipe)
}

/// `SERVICES_DIR`, or built once by `cargo xtask services`.
fn services() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        if let Some(folder) = std::env::var_os("SERVICES_DIR") {
            return folder.into();
        }
        let status = Command::new(env!("CARGO"))
            .args(["xtask", "services"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .unwrap();
        assert!(status.success(), "cargo xtask services: {status}");
        target_folder().join("services/debug")
    })
}
