//! [`Distributor`]: our own binary.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde::de::DeserializeOwned;

use crate::{Answer, LONG, Metrics, Port, Process, Recipe, Sender, get};
use peers::comes_true;
use peers::target_folder;

/// Its configuration, in its folder.
pub(crate) const CONFIG_FILE: &str = "config.yaml";
/// What wins over [`CONFIG_FILE`], if there is one.
pub(crate) const OVERLAY_FILE: &str = "overlay.yaml";

/// A running distributor.
#[derive(Debug)]
pub struct Distributor {
    /// Its process.
    pub process: Process,
    http: Port,
    grpc: Port,
}

impl Distributor {
    /// Starts one on reserved loopback ports with this configuration, and waits until `/ready`
    /// says 200.
    ///
    /// # Panics
    /// When it exits or does not get ready.
    pub async fn start(name: &str, yaml: &str) -> Self {
        let mut distributor = Self::launch(name, yaml);
        distributor.wait_ready().await;
        distributor
    }

    /// Starts one and waits for nothing: for those that are not to become ready.
    pub fn launch(name: &str, yaml: &str) -> Self {
        Self::launch_with(name, yaml, &[], &[])
    }

    /// [`Distributor::launch`] with a second configuration file, [`OVERLAY_FILE`], that wins.
    pub(crate) fn launch_over(name: &str, yaml: &str, overlay: &str) -> Self {
        let files = [(CONFIG_FILE, yaml), (OVERLAY_FILE, overlay)];
        let flag = format!("-config.file={OVERLAY_FILE}");
        Self::launch_files(name, &files, &[&flag], &[])
    }

    /// [`Distributor::launch`] with more flags and environment variables.
    pub fn launch_with(
        name: &str,
        yaml: &str,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        Self::launch_files(name, &[(CONFIG_FILE, yaml)], flags, environment)
    }

    fn launch_files(
        name: &str,
        files: &[(&str, &str)],
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let (http, grpc) = (Port::reserve(), Port::reserve());
        let mut arguments = vec![
            format!("-config.file={CONFIG_FILE}"),
            "-server.http-listen-address=127.0.0.1".to_owned(),
            format!("-server.http-listen-port={}", http.number()),
            "-server.grpc-listen-address=127.0.0.1".to_owned(),
            format!("-server.grpc-listen-port={}", grpc.number()),
        ];
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        Self::launch_by(name, files, arguments, environment, (http, grpc))
    }

    /// Starts one with these files (name, content) in its folder, and these arguments alone: they
    /// have it listen on the loopback ports for HTTP and for gRPC.
    pub fn launch_by(
        name: &str,
        files: &[(&str, &str)],
        arguments: Vec<String>,
        environment: &[(&str, &str)],
        (http, grpc): (Port, Port),
    ) -> Self {
        let folder = Process::folder_for(name);
        for (file, text) in files {
            fs::write(folder.path().join(file), text).unwrap();
        }
        let recipe = Recipe {
            program: binary(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: environment
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        };
        Self {
            process: Process::start(name, folder, recipe),
            http,
            grpc,
        }
    }

    /// The program itself.
    pub fn program() -> PathBuf {
        binary()
    }

    /// Waits until `/ready` says 200.
    ///
    /// # Panics
    /// When it exits or takes longer than [`LONG`].
    pub async fn wait_ready(&mut self) {
        if let Err(problem) = self.becomes_ready().await {
            panic!("{problem}");
        }
    }

    /// [`Distributor::wait_ready`] for those who go on without it.
    ///
    /// # Errors
    /// When it exits or takes longer than [`LONG`].
    pub(crate) async fn becomes_ready(&mut self) -> Result<(), String> {
        let url = self.url("/ready");
        let name = self.process.name().to_owned();
        let process = &mut self.process;
        comes_true(&format!("{name} to be ready"), LONG, || {
            let exited = process.exit_status();
            let (name, url) = (&name, &url);
            async move {
                if let Some(status) = exited {
                    return Ok(Err(format!("{name} exited: {status}")));
                }
                match get(url, None).await {
                    Ok(answer) if answer.status == 200 => Ok(Ok(())),
                    Ok(answer) => Err(format!("{}: {}", answer.status, answer.body)),
                    Err(error) => Err(error),
                }
            }
        })
        .await?
    }

    /// Kills it and starts it again on the same ports; returns when it is ready.
    pub async fn restart(&mut self) {
        self.process.restart();
        self.wait_ready().await;
    }

    /// [`Distributor::restart`] by a shell that runs `before` and then this program, for example with
    /// other limits (`ulimit -n 64; exec`); `redirections` are those of the program.
    pub async fn restart_in_shell(&mut self, before: &str, redirections: &str) {
        self.process.sigkill();
        let recipe = self.process.recipe_mut();
        let program = std::mem::replace(&mut recipe.program, "/bin/sh".into());
        let script = format!("{before} \"$@\" {redirections}");
        let shell = ["-c".into(), script.into(), "sh".into(), program.into()];
        recipe.arguments.splice(0..0, shell);
        self.restart().await;
    }

    /// Writes a file into its folder, which is its working directory, atomically: a program that
    /// watches the file never sees half of it.
    pub fn write_file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.process.folder().join(name);
        let temporary = path.with_extension("new");
        fs::write(&temporary, text).unwrap();
        fs::rename(&temporary, &path).unwrap();
        path
    }

    /// A URL of it.
    pub fn url(&self, path_and_query: &str) -> String {
        format!("http://{}{path_and_query}", self.http.address())
    }

    /// Where its HTTP server listens.
    pub fn http_address(&self) -> SocketAddr {
        self.http.address()
    }

    /// Where senders write to.
    pub fn push_url(&self) -> String {
        self.url("/api/v1/push")
    }

    /// `host:port` of its gRPC server.
    pub fn grpc_address(&self) -> String {
        self.grpc.address().to_string()
    }

    /// A sender to it, for a tenant.
    pub fn sender(&self, tenant: &str) -> Sender {
        Sender::new(&self.push_url()).tenant(tenant)
    }

    /// `GET` of a page, as a person sees it.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, path_and_query: &str) -> Result<Answer, String> {
        get(&self.url(path_and_query), None).await
    }

    /// `GET` of a page as JSON.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get_json(&self, path_and_query: &str) -> Result<serde_json::Value, String> {
        let answer = get(&self.url(path_and_query), Some("application/json")).await?;
        serde_json::from_str(&answer.body).map_err(|e| format!("{e}: {}", answer.body))
    }

    /// A page by its type in `admin_api`, for tests that use what it says. Those that are about the page
    /// itself read it by [`Distributor::get_json`], without the types that wrote it.
    ///
    /// # Errors
    /// When there is no answer, or it is another page.
    pub async fn page<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let answer = get(&self.url(path), Some("application/json")).await?;
        serde_json::from_str(&answer.body).map_err(|e| format!("{e}: {}", answer.body))
    }

    /// Its metrics.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn metrics(&self) -> Result<Metrics, String> {
        Ok(Metrics::parse(&self.get("/metrics").await?.body).unwrap())
    }
}

/// `DISTRIBUTOR_BIN`, or built once from the workspace, in the test's own profile.
pub(crate) fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY
        .get_or_init(|| match env::var_os("DISTRIBUTOR_BIN") {
            Some(path) => path.into(),
            None => build(),
        })
        .clone()
}

fn build() -> PathBuf {
    let target = target_folder();
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--package",
            "distributor-cli",
            "--bin",
            "distributor",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_DIR", &target)
        .status()
        .unwrap();
    assert!(status.success(), "cargo build of the distributor: {status}");
    target.join("debug/distributor")
}
