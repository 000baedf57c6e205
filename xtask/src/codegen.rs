//! `cargo xtask codegen`: checked-in files that are made from other files.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::chart;
use crate::manual;
use crate::observability;
use crate::readmes;
use crate::workspace::{Workspace, stdout_of};

/// Rust made from a .proto file.
struct Proto {
    /// In `proto/`.
    source: &'static str,
    /// Where the messages go.
    file: &'static str,
    services: Services,
}

/// What is made of the services of a .proto file.
enum Services {
    /// Client and server, with the crate's feature `grpc`: a user of only the messages does not need
    /// gRPC.
    Optional,
    /// The client.
    Client,
}

const PROTOS: &[Proto] = &[
    Proto {
        source: "remote_write_v1.proto",
        file: "crates/remote-write/src/proto/v1.rs",
        services: Services::Optional,
    },
    Proto {
        source: "remote_write_v2.proto",
        file: "crates/remote-write/src/proto/v2.rs",
        services: Services::Optional,
    },
    Proto {
        source: "ha_tracker.proto",
        file: "crates/ha-tracker/src/generated.rs",
        services: Services::Optional,
    },
    Proto {
        source: "etcd.proto",
        file: "crates/kv-etcd/src/generated.rs",
        services: Services::Client,
    },
];

/// .proto files that no Rust is made from: the bytes of a push are not decoded.
const DESCRIBED_ONLY: &[&str] = &["distributor.proto", "cortexpb.proto"];

/// Descriptors of the services, for gRPC reflection: sources in `proto/`, and where they go.
const DESCRIPTORS: (&[&str], &str) = (
    &["ha_tracker.proto", "distributor.proto"],
    "crates/distributor/src/grpc_server/descriptors.bin",
);

/// Pages that the distributor prints about itself: `distributor docs <name>`.
const DOCS: &[(&str, &str)] = &[
    ("configuration", "docs/configuration.md"),
    ("metrics", "docs/metrics.md"),
];

/// `codegen [--check] [protos|docs|observability|readmes]`.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let mut check = false;
    let (mut protos, mut docs, mut observability, mut readmes) = (false, false, false, false);
    for argument in arguments {
        match argument.as_str() {
            "--check" => check = true,
            "protos" => protos = true,
            "docs" => docs = true,
            "observability" => observability = true,
            "readmes" => readmes = true,
            other => bail!("unknown argument {other}"),
        }
    }
    let all = !protos && !docs && !observability && !readmes;
    let mut files = Vec::new();
    if protos || all {
        files.append(&mut rust_from_protos(workspace)?);
        files.push(descriptors(workspace)?);
    }
    if docs || all {
        files.append(&mut pages(workspace)?);
        let manual = manual::files(workspace)?.into_iter();
        files.extend(manual.map(|(file, text)| Generated {
            file,
            content: text.into_bytes(),
        }));
    }
    if observability || all {
        files.append(&mut alerts_and_dashboards()?);
    }
    if readmes || all {
        let pages = readmes::files(workspace)?.into_iter();
        files.extend(pages.map(|(file, content)| Generated { file, content }));
    }
    if check {
        compare(workspace, &files)?;
        chart::compare_copies(workspace)
    } else {
        write(workspace, &files)?;
        chart::write_copies(workspace)
    }
}

/// Fails, naming every stale file.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    run(workspace, &["--check".to_owned()])
}

/// The files that this command writes, relative to the root.
pub(crate) fn generated() -> impl Iterator<Item = &'static str> {
    let protos = PROTOS.iter().map(|proto| proto.file);
    let docs = DOCS.iter().map(|(_, file)| *file);
    protos
        .chain(docs)
        .chain([DESCRIPTORS.1])
        .chain(observability::names())
        .chain(readmes::names())
        .chain(manual::names())
}

struct Generated {
    file: &'static str,
    content: Vec<u8>,
}

impl Generated {
    fn is_up_to_date(&self, workspace: &Workspace) -> bool {
        let found = fs::read(workspace.root.join(self.file));
        found.is_ok_and(|found| found == self.content)
    }
}

fn compare(workspace: &Workspace, files: &[Generated]) -> Result<()> {
    let stale: Vec<&str> = files
        .iter()
        .filter(|generated| !generated.is_up_to_date(workspace))
        .map(|generated| generated.file)
        .collect();
    if !stale.is_empty() {
        bail!("stale: {}; run `cargo xtask codegen`", stale.join(", "));
    }
    println!("{} generated files are up to date", files.len());
    Ok(())
}

fn write(workspace: &Workspace, files: &[Generated]) -> Result<()> {
    for generated in files {
        if generated.is_up_to_date(workspace) {
            continue;
        }
        let Generated { file, content } = generated;
        let path = workspace.root.join(file);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, content)?;
        println!("written: {file}");
    }
    Ok(())
}

fn alerts_and_dashboards() -> Result<Vec<Generated>> {
    let files = observability::files()?.into_iter();
    Ok(files
        .map(|(file, text)| Generated {
            file,
            content: text.into_bytes(),
        })
        .collect())
}

fn rust_from_protos(workspace: &Workspace) -> Result<Vec<Generated>> {
    let listed: Vec<PathBuf> = PROTOS
        .iter()
        .map(|proto| &proto.source)
        .chain(DESCRIBED_ONLY)
        .map(|source| Path::new("proto").join(source))
        .collect();
    let unlisted: Vec<String> = workspace
        .files()?
        .into_iter()
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "proto")
        })
        .filter(|file| file.starts_with("proto") && !listed.contains(file))
        .map(|file| file.display().to_string())
        .collect();
    if !unlisted.is_empty() {
        bail!(
            "not in the table of xtask/src/codegen.rs: {}",
            unlisted.join(", ")
        );
    }
    PROTOS
        .iter()
        .map(|proto| rust_from_proto(workspace, proto))
        .collect()
}

fn rust_from_proto(workspace: &Workspace, proto: &Proto) -> Result<Generated> {
    let Proto {
        source,
        file,
        services,
    } = proto;
    let descriptors = protox::compile([source], [workspace.root.join("proto")])
        .with_context(|| format!("compiling proto/{source}"))?;
    let folder = tempfile::tempdir()?;
    let builder = tonic_prost_build::configure().build_transport(false);
    let services = match services {
        Services::Optional => builder
            .server_mod_attribute(".", "#[cfg(feature = \"grpc\")]")
            .client_mod_attribute(".", "#[cfg(feature = \"grpc\")]"),
        Services::Client => builder.build_server(false),
    };
    prost_build::Config::new()
        .service_generator(services.service_generator())
        .out_dir(folder.path())
        .compile_fds(descriptors)
        .with_context(|| format!("generating Rust from proto/{source}"))?;
    let outputs: Vec<PathBuf> = fs::read_dir(folder.path())?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    let [output] = outputs.as_slice() else {
        bail!(
            "proto/{source} and its imports must make one package, not {}",
            outputs.len()
        );
    };
    let text = format!(
        "//! Generated from proto/{source} by `cargo xtask codegen`; do not edit.\n\
         #![allow(clippy::all, missing_docs, unreachable_pub, unused_qualifications)]\n\n{}",
        fs::read_to_string(output)?
    );
    Ok(Generated {
        file,
        content: rustfmt(workspace, &text)?.into_bytes(),
    })
}

fn descriptors(workspace: &Workspace) -> Result<Generated> {
    let (sources, file) = DESCRIPTORS;
    let mut compiler = protox::Compiler::new([workspace.root.join("proto")])?;
    compiler.include_imports(true);
    for source in sources {
        compiler
            .open_file(source)
            .with_context(|| format!("compiling proto/{source}"))?;
    }
    Ok(Generated {
        file,
        content: compiler.encode_file_descriptor_set(),
    })
}

fn rustfmt(workspace: &Workspace, text: &str) -> Result<String> {
    let mut child = Command::new("rustfmt")
        .arg("--config-path")
        .arg(&workspace.root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting rustfmt")?;
    let mut stdin = child
        .stdin
        .take()
        .context("rustfmt has no standard input")?;
    // rustfmt reads all before it prints, so this cannot block on its output.
    stdin.write_all(text.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("rustfmt failed on generated code: {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn pages(workspace: &Workspace) -> Result<Vec<Generated>> {
    DOCS.iter()
        .map(|(name, file)| {
            let mut command = workspace.distributor()?;
            command.args(["docs", name]);
            Ok(Generated {
                file,
                content: stdout_of(&mut command)?.into_bytes(),
            })
        })
        .collect()
}
