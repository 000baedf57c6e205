//! The image: by the Dockerfile where a container tool works, and always the same root file system
//! without one, in which the program runs as the image's user.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use anyhow::{Context, Result, bail, ensure};

use super::{NAME, Package, same_bytes};
use crate::workspace::{run, stdout_of};

const SCRIPT: &str = "deploy/image/rootfs.sh";
const DOCKERFILE: &str = "deploy/image/Dockerfile";
/// The image's user and group.
const USER: &str = "65532:65532";
/// Folders whose files may be programs.
const PROGRAMS: &[&str] = &["bin", "sbin", "usr/bin", "usr/sbin"];

/// `ha-distributor-VERSION-rootfs-ARCHITECTURE.tar`, for `docker import`.
pub(super) fn make(package: &Package<'_>) -> Result<PathBuf> {
    let folder = tempfile::tempdir()?;
    let roots = ["first", "second"].map(|name| folder.path().join(name));
    for root in &roots {
        let mut script = package.command(package.workspace.root.join(SCRIPT));
        stdout_of(script.arg(&package.program).arg(root))?;
        package.tar(root, &root.with_extension("tar"))?;
    }
    let [first, second] = roots;
    same_bytes(&first.with_extension("tar"), &second.with_extension("tar"))?;
    only_the_distributor(&first)?;
    runs(&first)?;
    let name = format!(
        "{NAME}-{}-rootfs-{}.tar",
        package.version,
        env::consts::ARCH
    );
    let place = package.folder.join(&name);
    fs::copy(first.with_extension("tar"), &place)?;
    dockerfile_is_the_same(package)?;
    println!("{name}: serves as {USER}, with a read-only root; the same bytes when made twice");
    match ["docker", "podman"].into_iter().find(|tool| works(tool)) {
        // The Dockerfile compiles everything: not for a trial.
        Some(tool) if package.profile == "release" => build(package, tool)?,
        Some(_) => {}
        None => println!("no container tool works here: {DOCKERFILE} was not built"),
    }
    Ok(place)
}

/// There is no other program in it: no shell, no package manager.
fn only_the_distributor(root: &Path) -> Result<()> {
    let mut programs = Vec::new();
    for folder in PROGRAMS {
        let Ok(entries) = fs::read_dir(root.join(folder)) else {
            continue;
        };
        for entry in entries {
            programs.push(Path::new(folder).join(entry?.file_name()));
        }
    }
    ensure!(
        programs == [Path::new("usr/bin/distributor")],
        "programs in the image: {programs:?}"
    );
    ensure!(
        root.join("etc/ssl/certs/ca-certificates.crt").is_file(),
        "no certificates of authorities"
    );
    Ok(())
}

/// The Dockerfile makes its root by the same script, of the same compiler, and runs it as this does.
fn dockerfile_is_the_same(package: &Package<'_>) -> Result<()> {
    let root = &package.workspace.root;
    let dockerfile = fs::read_to_string(root.join(DOCKERFILE))?;
    let toolchain = fs::read_to_string(root.join("rust-toolchain.toml"))?;
    let compiler = toolchain
        .lines()
        .find_map(|line| line.strip_prefix("channel = "))
        .context("rust-toolchain.toml has no channel")?;
    let image = format!(
        "ARG RUST=docker.io/library/rust:{}-",
        compiler.trim_matches('"')
    );
    let (_, last) = dockerfile
        .rsplit_once("\nFROM ")
        .context("the Dockerfile has one stage")?;
    for (part, text) in [
        (image.as_str(), dockerfile.as_str()),
        (SCRIPT, &dockerfile),
        ("scratch\n", last),
        ("COPY --from=build /rootfs /\n", last),
        (&format!("USER {USER}\n"), last),
        ("ENTRYPOINT [\"/usr/bin/distributor\"]", last),
    ] {
        ensure!(text.contains(part), "{DOCKERFILE} lacks {part:?}");
    }
    Ok(())
}

/// The program is ready in it, as its user, and ends in peace.
fn runs(root: &Path) -> Result<()> {
    // Another process could take the ports before it does; then it fails, and says so.
    let ports: Vec<u16> = (0..3)
        .map(|_| Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()))
        .collect::<Result<_>>()?;
    let [http, grpc, gossip] = ports.as_slice() else {
        bail!("three ports are needed");
    };
    let mut child = in_root(root)
        .arg("/usr/bin/distributor")
        .arg("-server.http-listen-address=127.0.0.1")
        .arg(format!("-server.http-listen-port={http}"))
        .arg("-server.grpc-listen-address=127.0.0.1")
        .arg(format!("-server.grpc-listen-port={grpc}"))
        .arg("-memberlist.bind-addr=127.0.0.1")
        .arg("-memberlist.advertise-addr=127.0.0.1")
        .arg(format!("-memberlist.bind-port={gossip}"))
        .arg("-distributor.ha-tracker.enable=true")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting chroot")?;
    let outcome = becomes_ready(&mut child, *http).and_then(|()| ends(&mut child));
    if outcome.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let mut log = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut log)?;
    }
    outcome.with_context(|| format!("the program in the image's root: {log}"))
}

/// A container of this root: read-only, with the image's user, who gets no more rights. Where this user
/// is not root, without the image's user, whom it may not become.
const CONTAINER: &str = r#"
root=$1 user=$2
shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro,nosuid,nodev "$root"
exec setpriv --no-new-privs chroot $user "$root" "$@"
"#;

/// A command in [`CONTAINER`].
fn in_root(root: &Path) -> Command {
    let is_root = stdout_of(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    let mut command = Command::new("unshare");
    command.arg("--mount");
    let user = match is_root {
        true => format!("--userspec={USER}"),
        false => {
            command.arg("--map-root-user");
            String::new()
        }
    };
    command
        .args(["sh", "-ec", CONTAINER, "sh"])
        .arg(root)
        .arg(user);
    command
}

#[allow(
    clippy::disallowed_methods,
    reason = "between two requests; there is no runtime here"
)]
fn becomes_ready(child: &mut Child, port: u16) -> Result<()> {
    // Half a minute, on a machine that tests keep busy.
    for _ in 0..300 {
        if let Some(status) = child.try_wait()? {
            bail!("it exited: {status}");
        }
        if answers_ready(port).unwrap_or(false) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(100));
    }
    bail!("it did not become ready")
}

fn answers_ready(port: u16) -> std::io::Result<bool> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    connection.write_all(b"GET /ready HTTP/1.1\r\nHost: image\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

fn ends(child: &mut Child) -> Result<()> {
    stdout_of(Command::new("kill").arg(child.id().to_string()))?;
    let status = child.wait()?;
    ensure!(status.success(), "asked to end, it exited: {status}");
    Ok(())
}

/// A daemon answers, where the tool needs one.
fn works(tool: &str) -> bool {
    let mut info = Command::new(tool);
    info.arg("info").stdin(Stdio::null());
    info.output().is_ok_and(|output| output.status.success())
}

/// Builds the image from its Dockerfile, and runs it.
fn build(package: &Package<'_>, tool: &str) -> Result<()> {
    let tag = format!("{NAME}:{}", package.version);
    let mut build = package.command(tool);
    build
        .args(["build", "--file", DOCKERFILE, "--tag", &tag])
        .arg(format!("--build-arg=SOURCE_DATE_EPOCH={}", package.epoch))
        .arg(".");
    run(&mut build)?;
    let mut version = package.command(tool);
    let printed = stdout_of(version.args(["run", "--rm", "--read-only", &tag, "-version"]))?;
    ensure!(printed.contains(&package.version), "it is {printed}");
    println!("{tag}: built by {tool}, runs");
    Ok(())
}
