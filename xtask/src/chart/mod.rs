//! `cargo xtask chart`: the Helm chart, rendered with many values files by the real Helm, compared with
//! what was rendered before, checked against the schemas of Kubernetes, and its configurations given to
//! the real distributor.

mod copies;
mod manifests;
mod schemas;
mod times;
mod upgrades;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};

pub(crate) use copies::{compare as compare_copies, write as write_copies};
use manifests::{block, first_difference, without_copies};
use schemas::Schemas;

use crate::golang::Go;
use crate::workspace::{Workspace, in_ci, stdout_of};

const HELM: &str = "helm.sh/helm/v3/cmd/helm";
const HELM_VERSION: &str = "v3.22.0";
const FOLDER: &str = "deploy/helm";
const CHART: &str = "deploy/helm/ha-distributor";
/// Where values files of the tests mount a Secret with certificates.
const SECRET: &str = "/tls/";

/// `chart [--bless]`.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let bless = match arguments {
        [] => false,
        [one] if one == "--bless" => true,
        _ => bail!("usage: cargo xtask chart [--bless]"),
    };
    match bless {
        true => write_copies(workspace)?,
        false => compare_copies(workspace)?,
    }
    let tools = helm(workspace).and_then(|helm| Ok((helm, Schemas::provide(workspace)?)));
    let (helm, schemas) = match tools {
        Ok(tools) => tools,
        Err(error) if in_ci() => return Err(error),
        Err(error) => {
            println!("WARNING: the chart was NOT checked: {error:#}");
            return Ok(());
        }
    };
    let chart = Chart {
        workspace,
        helm,
        schemas,
    };
    let values = files(&workspace.root.join(FOLDER).join("tests/values"))?;
    for file in &values {
        chart.check(file, bless)?;
    }
    let refused = files(&workspace.root.join(FOLDER).join("tests/refused"))?;
    for file in &refused {
        chart.check_refused(file)?;
    }
    let upgrades = upgrades::check(&chart)?;
    println!(
        "the chart: {} values files linted, rendered, checked against the schemas of Kubernetes {} and \
         loaded; {} refused; {upgrades} upgrades judged by what the cluster has",
        values.len(),
        schemas::KUBERNETES.join(", "),
        refused.len()
    );
    Ok(())
}

/// Helm, built from its Go module unless it is there.
fn helm(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join(format!("tools/helm-{HELM_VERSION}"));
    let program = folder.join("helm");
    if program.is_file() {
        return Ok(program);
    }
    let module = format!("{HELM}@{HELM_VERSION}");
    Go::provide(&workspace.target)?.install(&module, &folder)?;
    ensure!(program.is_file(), "no helm in {}", folder.display());
    Ok(program)
}

struct Chart<'a> {
    workspace: &'a Workspace,
    helm: PathBuf,
    schemas: Schemas,
}

impl Chart<'_> {
    fn helm(&self, command: &[&str], values: &Path) -> Command {
        let mut helm = Command::new(&self.helm);
        helm.args(command)
            .arg("--values")
            .arg(values)
            .args(["--namespace", "monitoring", "--kube-version", "1.30"])
            .current_dir(&self.workspace.root);
        // Nothing of a cluster that this machine may know.
        helm.env_remove("KUBECONFIG")
            .env("HELM_CACHE_HOME", env::temp_dir());
        helm
    }

    /// Lints and renders; the manifests are those of the golden file, and the distributor takes the
    /// configuration in them.
    fn check(&self, values: &Path, bless: bool) -> Result<()> {
        let name = name_of(values)?;
        stdout_of(&mut self.helm(&["lint", "--strict", "--quiet", CHART], values))
            .with_context(|| format!("linting with {}", values.display()))?;
        let rendered = stdout_of(&mut self.helm(&["template", "metrics", CHART], values))?;
        let golden = self
            .workspace
            .root
            .join(FOLDER)
            .join(format!("tests/golden/{name}.yaml"));
        if bless {
            fs::create_dir_all(golden.parent().context("a golden file is in a folder")?)?;
            fs::write(&golden, without_copies(&rendered))?;
        } else {
            let expected = fs::read_to_string(&golden)
                .with_context(|| format!("reading {}", golden.display()))?;
            if let Some(difference) = first_difference(&expected, &without_copies(&rendered)) {
                bail!(
                    "{} is not what the chart renders with {}: {difference}\nIf it should be, run \
                     `cargo xtask chart --bless` and look at the difference.",
                    golden.display(),
                    values.display()
                );
            }
        }
        if rendered.contains("kind: PrometheusRule") {
            check_rules(&rendered)
                .with_context(|| format!("the rules with {}", values.display()))?;
        }
        self.schemas
            .check(&rendered)
            .with_context(|| format!("what is rendered with {}", values.display()))?;
        self.load(&rendered)
            .with_context(|| format!("the configuration rendered with {}", values.display()))
    }

    /// The distributor takes the configuration, and a pod may take as long to end as it needs.
    fn load(&self, rendered: &str) -> Result<()> {
        let Some(config) = block(rendered, "distributor.yaml") else {
            return Ok(());
        };
        let runtime = block(rendered, "runtime.yaml").context("no runtime configuration")?;
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        // Files that a Secret would bring: readable, but without a certificate.
        let has_secret = config.contains(SECRET);
        for name in ["tls.crt", "tls.key", "ca.crt"] {
            fs::write(path(name), "")?;
        }
        let config = config.replace(SECRET, &format!("{}/", folder.path().display()));
        fs::write(path("distributor.yaml"), config)?;
        fs::write(path("runtime.yaml"), runtime)?;
        let distributor = |action: &str| -> Result<String> {
            let mut distributor = self.workspace.distributor()?;
            let flag = |flag: &str, name: &str| format!("-{flag}={}", path(name).display());
            distributor
                .arg(flag("config.file", "distributor.yaml"))
                .arg(flag("runtime-config.file", "runtime.yaml"))
                .arg(action);
            stdout_of(&mut distributor)
        };
        if !has_secret {
            distributor("-config.check")?;
        }
        times::check(rendered, &distributor("-print.config")?)
    }

    /// Helm refuses these values, and says what stands in the first line of the file.
    fn check_refused(&self, values: &Path) -> Result<()> {
        let expected = comment(values, "")?;
        let mut helm = self.helm(&["template", "metrics", CHART], values);
        refuses(&mut helm, &expected).with_context(|| values.display().to_string())
    }
}

/// The rules are all there, but for an alert that values of the tests disable, and select one job alone.
fn check_rules(rendered: &str) -> Result<()> {
    let alerts = |text: &str| text.matches("alert: ").count();
    let original = include_str!("../../../deploy/observability/rules.yaml");
    ensure!(
        alerts(rendered) + 1 == alerts(original)
            && !rendered.contains("alert: HaDistributorFailover\n"),
        "of {} alerts, {} are rendered",
        alerts(original),
        alerts(rendered)
    );
    ensure!(
        rendered.matches("team: observability").count() == alerts(rendered),
        "not each alert has the additional label"
    );
    let job = "job=\"monitoring/metrics-ha-distributor\"";
    ensure!(
        !rendered.contains("job=~\".*") && rendered.contains(job),
        "a rule selects other jobs than this release's"
    );
    Ok(())
}

/// Fails unless Helm fails and says this.
fn refuses(helm: &mut Command, expected: &str) -> Result<()> {
    let output = helm.output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        !output.status.success() && errors.contains(expected),
        "it should be refused with `{expected}`: {errors}"
    );
    Ok(())
}

/// The rest of the first line of a file that begins with `# ` and this.
fn comment(file: &Path, begin: &str) -> Result<String> {
    let text = fs::read_to_string(file)?;
    let begin = format!("# {begin}");
    let found = text.lines().find_map(|line| line.strip_prefix(&begin));
    let found = found.with_context(|| format!("{}: no line `{begin}…`", file.display()))?;
    Ok(found.to_owned())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut files = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|kind| kind == "yaml"));
    files.sort();
    ensure!(!files.is_empty(), "nothing in {}", folder.display());
    Ok(files)
}

fn name_of(file: &Path) -> Result<String> {
    let stem = file.file_stem().context("a file has a name")?;
    Ok(stem.to_string_lossy().into_owned())
}
