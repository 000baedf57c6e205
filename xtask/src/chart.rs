//! `cargo xtask chart`: the Helm chart, rendered with many values files by the real Helm, compared with
//! what was rendered before, and its configurations given to the real distributor.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};

use crate::golang::Go;
use crate::workspace::{Workspace, in_ci, stdout_of};

const HELM: &str = "helm.sh/helm/v3/cmd/helm";
const HELM_VERSION: &str = "v3.22.0";
const FOLDER: &str = "deploy/helm";
const CHART: &str = "deploy/helm/ha-distributor";

/// `chart [--bless]`.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let bless = match arguments {
        [] => false,
        [one] if one == "--bless" => true,
        _ => bail!("usage: cargo xtask chart [--bless]"),
    };
    let helm = match helm(workspace) {
        Ok(helm) => helm,
        Err(error) if in_ci() => return Err(error),
        Err(error) => {
            println!("WARNING: the chart was NOT checked: {error:#}");
            return Ok(());
        }
    };
    let chart = Chart { workspace, helm };
    let values = files(&workspace.root.join(FOLDER).join("tests/values"))?;
    for file in &values {
        chart.check(file, bless)?;
    }
    let refused = files(&workspace.root.join(FOLDER).join("tests/refused"))?;
    for file in &refused {
        chart.check_refused(file)?;
    }
    println!(
        "the chart: {} values files rendered, linted and their configurations loaded, {} refused",
        values.len(),
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
            fs::write(&golden, &rendered)?;
        } else {
            let expected = fs::read_to_string(&golden)
                .with_context(|| format!("reading {}", golden.display()))?;
            if let Some(difference) = first_difference(&expected, &rendered) {
                bail!(
                    "{} is not what the chart renders with {}: {difference}\nIf it should be, run \
                     `cargo xtask chart --bless` and look at the difference.",
                    golden.display(),
                    values.display()
                );
            }
        }
        self.load(&rendered)
            .with_context(|| format!("the configuration rendered with {}", values.display()))
    }

    fn load(&self, rendered: &str) -> Result<()> {
        let Some(config) = block(rendered, "distributor.yaml") else {
            return Ok(());
        };
        let runtime = block(rendered, "runtime.yaml").context("no runtime configuration")?;
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        fs::write(path("distributor.yaml"), config)?;
        fs::write(path("runtime.yaml"), runtime)?;
        let mut distributor = self.workspace.distributor()?;
        distributor
            .arg(format!(
                "-config.file={}",
                path("distributor.yaml").display()
            ))
            .arg(format!(
                "-runtime-config.file={}",
                path("runtime.yaml").display()
            ))
            .arg("-config.check");
        stdout_of(&mut distributor).map(drop)
    }

    /// Helm refuses these values, and says what stands in the first line of the file.
    fn check_refused(&self, values: &Path) -> Result<()> {
        let text = fs::read_to_string(values)?;
        let expected = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# "))
            .with_context(|| format!("{}: no `# message` on top", values.display()))?;
        let output = self
            .helm(&["template", "metrics", CHART], values)
            .output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(
            !output.status.success() && errors.contains(expected),
            "{}: it should be refused with `{expected}`: {errors}",
            values.display()
        );
        Ok(())
    }
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

fn first_difference(expected: &str, found: &str) -> Option<String> {
    if expected == found {
        return None;
    }
    let mut lines = expected.lines().zip(found.lines()).enumerate();
    Some(match lines.find(|(_, (a, b))| a != b) {
        Some((index, (a, b))) => format!("line {}: `{a}`, now `{b}`", index + 1),
        None => "one of them is longer".to_owned(),
    })
}

/// The text of a block scalar (`key: |`) in manifests.
fn block(manifests: &str, key: &str) -> Option<String> {
    let mut lines = manifests.lines();
    let head = format!("{key}: |");
    let line = lines.find(|line| line.trim_start() == head)?;
    let indent = line.len() - line.trim_start().len() + 2;
    let body = lines
        .take_while(|line| line.trim().is_empty() || line.len() - line.trim_start().len() >= indent)
        .map(|line| line.get(indent..).unwrap_or_default());
    Some(body.fold(String::new(), |text, line| text + line + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_ends_where_its_indentation_does() {
        let manifests = "data:\n  other: x\n  a.yaml: |\n    one:\n      two: 2\n\n    three: 3\n---\nkind: B\n";
        assert_eq!(
            block(manifests, "a.yaml").as_deref(),
            Some("one:\n  two: 2\n\nthree: 3\n")
        );
        assert_eq!(block(manifests, "b.yaml"), None);
    }

    #[test]
    fn the_first_difference_is_named() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(
            first_difference("a\nb\n", "a\nc\n").as_deref(),
            Some("line 2: `b`, now `c`")
        );
        assert_eq!(
            first_difference("a\n", "a\nb\n").as_deref(),
            Some("one of them is longer")
        );
    }
}
