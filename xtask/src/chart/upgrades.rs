//! Upgrades that the chart judges by what the cluster has: Helm is given a stand-in for the API of
//! Kubernetes that knows the objects of one release.
//!
//! A case is a values file below `tests/upgrades`. Its comments say what the cluster has (`# record:`
//! the step in the chart's own ConfigMap, or `# config:` the golden file whose configuration the release
//! has), and what happens (`# accepted`, or `# refused:` and a part of the message).

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::manifests::block;
use super::{CHART, Chart, FOLDER, comment, files, refuses};
use crate::workspace::stdout_of;

const NAMESPACE: &str = "/api/v1/namespaces/monitoring";

/// Checks all cases; how many there are.
pub(super) fn check(chart: &Chart<'_>) -> Result<usize> {
    let cases = files(&chart.workspace.root.join(FOLDER).join("tests/upgrades"))?;
    for case in &cases {
        check_case(chart, case).with_context(|| case.display().to_string())?;
    }
    Ok(cases.len())
}

fn check_case(chart: &Chart<'_>, case: &Path) -> Result<()> {
    let api = serve(cluster(chart, case)?)?;
    let mut helm = chart.helm(&["template", "metrics", CHART], case);
    helm.args(["--is-upgrade", "--dry-run=server", "--kube-apiserver"])
        .arg(format!("http://{api}"));
    match comment(case, "refused: ") {
        Ok(expected) => refuses(&mut helm, &expected),
        Err(_) => {
            comment(case, "accepted")?;
            stdout_of(&mut helm).map(drop)
        }
    }
}

/// What the cluster answers, by path.
fn cluster(chart: &Chart<'_>, case: &Path) -> Result<BTreeMap<String, Value>> {
    let resource = |name: &str, kind: &str| json!({"name": name, "namespaced": true, "kind": kind, "verbs": ["get"]});
    let mut answers = BTreeMap::from([
        (
            "/version".to_owned(),
            json!({"major": "1", "minor": "30", "gitVersion": "v1.30.0"}),
        ),
        (
            "/api".to_owned(),
            json!({"kind": "APIVersions", "versions": ["v1"]}),
        ),
        (
            "/apis".to_owned(),
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []}),
        ),
        (
            "/api/v1".to_owned(),
            json!({
                "kind": "APIResourceList",
                "groupVersion": "v1",
                "resources": [resource("configmaps", "ConfigMap"), resource("secrets", "Secret")],
            }),
        ),
    ]);
    if let Ok(step) = comment(case, "record: ") {
        let name = "metrics-ha-distributor-migration";
        answers.insert(
            format!("{NAMESPACE}/configmaps/{name}"),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"step": step}}),
        );
    }
    if let Ok(golden) = comment(case, "config: ") {
        let file = chart
            .workspace
            .root
            .join(FOLDER)
            .join(format!("tests/golden/{golden}.yaml"));
        let config = block(&fs::read_to_string(file)?, "distributor.yaml")
            .context("the golden file has no configuration")?;
        let name = "metrics-ha-distributor-config";
        answers.insert(
            format!("{NAMESPACE}/secrets/{name}"),
            json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name},
                "data": {"distributor.yaml": BASE64.encode(config)},
            }),
        );
    }
    Ok(answers)
}

/// Answers requests from a table, until the process ends.
fn serve(answers: BTreeMap<String, Value>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let answers = Arc::new(answers);
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            // Each has a thread of its own: Go's client may connect more often than it asks.
            let answers = Arc::clone(&answers);
            // A client that goes away has its own error.
            thread::spawn(move || answer(connection, &answers));
        }
    });
    Ok(address)
}

fn answer(mut connection: TcpStream, answers: &BTreeMap<String, Value>) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = first.split_whitespace().nth(1).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let (status, body) = match answers.get(path) {
        Some(body) => ("200 OK", body.clone()),
        None => (
            "404 Not Found",
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}),
        ),
    };
    let body = body.to_string();
    write!(
        connection,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
