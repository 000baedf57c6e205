//! The real programs that end-to-end tests talk to: servers, clients made with the tools of
//! another language, and members of gossip rings in Go.
//!
//! Each peer ends as `<target>/peers/<name>/<binary>`; the test harness looks there. One that
//! cannot be provided leaves `<target>/peers/<name>.failed` with the reason, which the tests
//! that need it print.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail};

use crate::apt;
use crate::golang::{self, Go};
use crate::python::{self, Packages};
use crate::workspace::{Workspace, in_ci, stdout_of};

/// One program, and where it comes from.
struct Peer {
    /// The folder under `peers/`.
    name: &'static str,
    /// The program's path in the peer's folder.
    binary: &'static str,
    source: Source,
}

enum Source {
    /// A program on PATH that will do, else one out of a Debian package.
    Debian(Program),
    /// The same program, but out of a package whose files it needs beside it, and which needs other
    /// packages.
    DebianTree(Program),
    /// Python with packages in a virtual environment, which is the peer's folder.
    Python(Packages),
    /// A program in Go, from the folder of this name beside the harness.
    Go(&'static str),
}

/// Where programs are whose source is here.
const SOURCES: &str = "tests/peers";

/// A program in a Debian package; its file name is that of the peer's binary.
struct Program {
    /// What makes it print its version.
    version_argument: &'static str,
    /// What its version must begin with.
    version: &'static str,
    /// The package, and the releases to take it from, first choice first.
    package: &'static str,
    suites: &'static [&'static str],
    /// The program's path in the package.
    path: &'static str,
}

const PEERS: &[Peer] = &[
    Peer {
        name: "prometheus-2",
        binary: "prometheus",
        source: Source::Debian(Program {
            version_argument: "--version",
            version: "2.",
            package: "prometheus",
            suites: &["bookworm"],
            path: "usr/bin/prometheus",
        }),
    },
    Peer {
        name: "prometheus-3",
        binary: "prometheus",
        source: Source::Debian(Program {
            version_argument: "--version",
            version: "3.",
            package: "prometheus",
            suites: &["forky", "sid"],
            path: "usr/bin/prometheus",
        }),
    },
    Peer {
        name: "promtool",
        binary: "promtool",
        source: Source::Debian(Program {
            version_argument: "--version",
            // Any: what it checks has not changed.
            version: "",
            package: "prometheus",
            // Newer packages do not have it.
            suites: &["bookworm"],
            path: "usr/bin/promtool",
        }),
    },
    Peer {
        name: "etcd",
        binary: "etcd",
        source: Source::Debian(Program {
            version_argument: "--version",
            version: "3.",
            package: "etcd-server",
            suites: &["bookworm", "trixie"],
            path: "usr/bin/etcd",
        }),
    },
    Peer {
        name: "etcdctl",
        binary: "etcdctl",
        source: Source::Debian(Program {
            version_argument: "version",
            version: "3.",
            package: "etcd-client",
            suites: &["bookworm", "trixie"],
            path: "usr/bin/etcdctl",
        }),
    },
    Peer {
        name: "consul",
        binary: "consul",
        source: Source::Debian(Program {
            version_argument: "version",
            version: "1.",
            package: "consul",
            // The last release that has it.
            suites: &["bullseye"],
            path: "usr/bin/consul",
        }),
    },
    Peer {
        name: "vmagent",
        binary: "vmagent",
        source: Source::Debian(Program {
            version_argument: "-version",
            // Any: Debian's build prints none.
            version: "",
            package: "victoria-metrics",
            suites: &["bookworm"],
            path: "usr/bin/vmagent",
        }),
    },
    Peer {
        name: "chromium",
        binary: "chromium",
        source: Source::DebianTree(Program {
            version_argument: "--version",
            // Any that is still maintained.
            version: "1",
            package: "chromium-headless-shell",
            suites: &[],
            path: "usr/lib/chromium/chromium-headless-shell",
        }),
    },
    Peer {
        name: "grpc-python",
        binary: python::INTERPRETER,
        source: Source::Python(Packages {
            pinned: &[
                ("grpcio", "1.85.1"),
                ("grpcio-tools", "1.85.1"),
                ("grpcio-health-checking", "1.85.1"),
                ("grpcio-reflection", "1.85.1"),
                ("protobuf", "7.36.2"),
                ("setuptools", "84.2.1"),
                ("typing-extensions", "4.16.0"),
            ],
            modules: &[
                "grpc",
                "grpc_tools.protoc",
                "grpc_health.v1.health_pb2_grpc",
                "grpc_reflection.v1alpha.reflection_pb2_grpc",
            ],
        }),
    },
    Peer {
        name: "memberlist-go",
        binary: "memberlist-go",
        source: Source::Go("memberlist-go"),
    },
];

/// `cargo xtask peers [NAME...]`: all of them without a name.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    if let Some(unknown) = arguments
        .iter()
        .find(|name| !PEERS.iter().any(|peer| peer.name == **name))
    {
        let known: Vec<&str> = PEERS.iter().map(|peer| peer.name).collect();
        bail!("no such peer: {unknown} (known: {})", known.join(", "));
    }
    let folder = folder(workspace);
    fs::create_dir_all(&folder)?;
    let mut missing = Vec::new();
    println!("{:<14} {:<12} path", "peer", "version");
    for peer in PEERS {
        if !arguments.is_empty() && !arguments.iter().any(|name| name == peer.name) {
            continue;
        }
        let failure = folder.join(format!("{}.failed", peer.name));
        match provide(peer, &folder, workspace) {
            Ok((version, path)) => {
                println!("{:<14} {version:<12} {}", peer.name, path.display());
                let _ = fs::remove_file(&failure);
            }
            Err(error) => {
                println!("{:<14} {:<12} {error:#}", peer.name, "MISSING");
                fs::write(&failure, format!("{error:#}\n"))?;
                missing.push(peer.name);
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!(
        "cannot provide {}: tests that need it will fail",
        missing.join(", ")
    );
    if in_ci() {
        bail!(message);
    }
    eprintln!("\nWARNING: {message}\n");
    Ok(())
}

/// Where peers live.
pub(crate) fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("peers")
}

fn provide(peer: &Peer, folder: &Path, workspace: &Workspace) -> Result<(String, PathBuf)> {
    let place = folder.join(peer.name).join(peer.binary);
    // What is built from sources here may be older than they are.
    let is_foreign = !matches!(peer.source, Source::Go(_));
    if is_foreign && let Ok(version) = usable(peer, &place) {
        return Ok((version, place));
    }
    let _ = fs::remove_dir_all(folder.join(peer.name));
    fs::create_dir_all(folder.join(peer.name))?;
    match &peer.source {
        Source::Debian(program) => find_or_fetch(peer, program, &place)?,
        Source::DebianTree(program) => find_or_unpack(peer, program, &place)?,
        Source::Python(packages) => python::make_environment(packages, &folder.join(peer.name))?,
        Source::Go(sources) => {
            let sources = workspace.root.join(SOURCES).join(sources);
            Go::provide(&workspace.target)?.build(&sources, &place)?;
        }
    }
    Ok((usable(peer, &place)?, place))
}

fn find(peer: &Peer, place: &Path) -> Result<bool> {
    for candidate in on_path(peer.binary) {
        if usable(peer, &candidate).is_ok() {
            std::os::unix::fs::symlink(&candidate, place)?;
            return Ok(true);
        }
    }
    Ok(false)
}

fn find_or_fetch(peer: &Peer, program: &Program, place: &Path) -> Result<()> {
    if find(peer, place)? {
        return Ok(());
    }
    let mut failures = Vec::new();
    for suite in program.suites {
        let fetched = fetch(program, suite, place);
        match fetched.and_then(|()| usable(peer, place)) {
            Ok(_) => return Ok(()),
            Err(error) => failures.push(format!("from {suite}: {error:#}")),
        }
    }
    bail!(
        "{} {} is not on PATH; {}",
        peer.binary,
        program.version,
        failures.join("; ")
    );
}

fn fetch(program: &Program, suite: &str, place: &Path) -> Result<()> {
    let unpacked = place.with_file_name("package");
    let _ = fs::remove_dir_all(&unpacked);
    fs::create_dir_all(&unpacked)?;
    apt::unpack(suite, program.package, &unpacked)?;
    fs::rename(unpacked.join(program.path), place)
        .with_context(|| format!("the package has no {}", program.path))?;
    fs::remove_dir_all(&unpacked)?;
    Ok(())
}

/// Unpacks the package and those that it needs and this machine lacks, and writes a script that runs
/// the program with them.
fn find_or_unpack(peer: &Peer, program: &Program, place: &Path) -> Result<()> {
    if find(peer, place)? {
        return Ok(());
    }
    let tree = place.with_file_name("package");
    fs::create_dir_all(&tree)?;
    apt::unpack_with_needed(program.package, &tree)
        .with_context(|| format!("{} is not on PATH", peer.binary))?;
    let libraries: Vec<String> = ["usr/lib", "lib"]
        .iter()
        .flat_map(|folder| {
            let folder = tree.join(folder);
            let libraries = folder.join(format!("{}-linux-gnu", env::consts::ARCH));
            // Some have private ones, which they find where Debian installs them.
            let private = folders_in(&libraries);
            [vec![libraries, folder], private].concat()
        })
        .map(|folder| folder.display().to_string())
        .collect();
    let script = format!(
        "#!/bin/sh\nexport LD_LIBRARY_PATH='{}'\nexec '{}' \"$@\"\n",
        libraries.join(":"),
        tree.join(program.path).display()
    );
    fs::write(place, script)?;
    fs::set_permissions(place, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// None if it is no folder.
fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    folders.retain(|entry| entry.is_dir());
    folders.sort();
    folders
}

fn on_path(binary: &str) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(binary))
        .filter(|file| file.is_file())
        .collect()
}

/// The version of a binary that runs here and is what the peer has to be.
fn usable(peer: &Peer, binary: &Path) -> Result<String> {
    match &peer.source {
        Source::Debian(program) | Source::DebianTree(program) => version_of(program, binary),
        Source::Python(packages) => python::check(packages, binary),
        Source::Go(_) => golang::check(binary),
    }
}

fn version_of(program: &Program, binary: &Path) -> Result<String> {
    let printed = stdout_of(Command::new(binary).arg(program.version_argument))?;
    let version = printed
        .split(|c: char| c.is_whitespace() || c == ',')
        .map(|word| word.strip_prefix('v').unwrap_or(word))
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        .or(Some("unknown").filter(|_| program.version.is_empty()))
        .with_context(|| format!("{} prints no version", binary.display()))?;
    if !version.starts_with(program.version) {
        bail!(
            "{} is {version}, not {}x",
            binary.display(),
            program.version
        );
    }
    Ok(version.to_owned())
}
