//! The schemas that rendered manifests are checked against: those of Kubernetes by kubeconform, and the
//! types of Prometheus Operator.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::golang::Go;
use crate::python;
use crate::workspace::Workspace;

/// The oldest that the chart takes (`kubeVersion`), one in between, and the newest with a schema.
pub(super) const KUBERNETES: &[&str] = &["1.25.0", "1.30.0", "1.37.0"];

const KUBECONFORM: &str = "github.com/yannh/kubeconform/cmd/kubeconform";
const KUBECONFORM_VERSION: &str = "v0.8.0";
/// A Python package that brings the schemas of many versions as files.
const SCHEMAS: (&str, &str) = ("kubernetes-validate", "1.37.0");
const SCHEMAS_FOLDER: &str = "kubernetes_validate/kubernetes-json-schema";
const OPERATOR: &str = "deploy/helm/tests/prometheus-operator";
/// The group whose resources the program of [`OPERATOR`] checks.
const OPERATOR_GROUP: &str = "monitoring.coreos.com/v1";

/// The programs, and where the schemas are.
pub(super) struct Schemas {
    kubeconform: PathBuf,
    folder: PathBuf,
    operator: PathBuf,
}

impl Schemas {
    /// Builds and downloads what is not there yet.
    pub(super) fn provide(workspace: &Workspace) -> Result<Self> {
        let tools = workspace.target.join("tools");
        let folder = tools.join(format!("kubeconform-{KUBECONFORM_VERSION}"));
        let kubeconform = folder.join("kubeconform");
        let go = Go::provide(&workspace.target)?;
        if !kubeconform.is_file() {
            go.install(&format!("{KUBECONFORM}@{KUBECONFORM_VERSION}"), &folder)?;
        }
        let operator = tools.join("prometheus-operator-check");
        go.build(&workspace.root.join(OPERATOR), &operator)?;
        Ok(Self {
            kubeconform,
            folder: schemas(workspace)?,
            operator,
        })
    }

    /// Each resource is of a known kind, with known fields of the right types.
    pub(super) fn check(&self, manifests: &str) -> Result<()> {
        let expected = manifests
            .lines()
            .filter(|line| *line == format!("apiVersion: {OPERATOR_GROUP}"))
            .count();
        let checked = with_input(&mut Command::new(&self.operator), manifests)
            .context("checking the resources of Prometheus Operator")?;
        ensure!(
            checked.trim() == expected.to_string(),
            "of {expected} resources of {OPERATOR_GROUP}, {} were checked",
            checked.trim()
        );
        for version in KUBERNETES {
            let location = format!(
                "{}/{{{{ .NormalizedKubernetesVersion }}}}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json",
                self.folder.display()
            );
            let mut kubeconform = Command::new(&self.kubeconform);
            kubeconform
                .args([
                    "-strict",
                    "-kubernetes-version",
                    version,
                    "-schema-location",
                ])
                .arg(location)
                .args([
                    "-skip",
                    &format!("{OPERATOR_GROUP}/ServiceMonitor,{OPERATOR_GROUP}/PrometheusRule"),
                ])
                .arg("-");
            with_input(&mut kubeconform, manifests)
                .with_context(|| format!("kubeconform for Kubernetes {version}"))?;
        }
        Ok(())
    }
}

/// The folder with a folder of schemas for each version of Kubernetes.
fn schemas(workspace: &Workspace) -> Result<PathBuf> {
    let (package, version) = SCHEMAS;
    let name = format!("{package}-{version}-for-{}", KUBERNETES.join("-"));
    let folder = workspace.target.join("tools").join(name);
    if folder.is_dir() {
        return Ok(folder);
    }
    let unpacked = tempfile::tempdir()?;
    python::unpack(package, version, unpacked.path())?;
    // Moved to its place when it is complete.
    let half = folder.with_extension("part");
    let _ = fs::remove_dir_all(&half);
    for kubernetes in KUBERNETES {
        let from = format!("{SCHEMAS_FOLDER}/v{kubernetes}-local-strict");
        let to = half.join(format!("v{kubernetes}"));
        fs::create_dir_all(&to)?;
        let files = fs::read_dir(unpacked.path().join(&from))
            .with_context(|| format!("{package} {version} has no {from}"))?;
        for file in files {
            let file = file?;
            // What is common to all is beside them, and not at an address of the network.
            let schema = fs::read_to_string(file.path())?
                .replace("\"/api/_definitions.json#", "\"_definitions.json#")
                .replace("\"$id\": \"https:", "\"$comment\": \"https:");
            fs::write(to.join(file.file_name()), schema)?;
        }
    }
    fs::rename(&half, &folder)?;
    Ok(folder)
}

/// What a program prints that reads `input`; what it complains about is the error.
fn with_input(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    // Both programs read all before they print more than a pipe holds. One that ends before says why.
    let written = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !output.status.success() {
        bail!("{}\n{}", text(&output.stdout), text(&output.stderr));
    }
    written?;
    Ok(text(&output.stdout))
}
