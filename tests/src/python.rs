//! Clients in Python, which use the gRPC library and code generator of that language.

use std::path::Path;

use crate::{Process, Recipe};
use peers::program;

/// Starts a program of the folder `python`. How it ends is for the caller to see.
///
/// # Panics
/// When there is no Python with the packages, with the reason.
pub fn start_python(name: &str, file: &str, arguments: &[String]) -> Process {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
    // It leaves no compiled files in the source tree.
    let mut all = vec!["-B".into(), folder.join(file).into_os_string()];
    all.extend(arguments.iter().map(Into::into));
    let recipe = Recipe {
        program: program("grpc-python", "bin/python"),
        arguments: all,
        environment: Vec::new(),
    };
    Process::start(name, Process::folder_for(name), recipe)
}
