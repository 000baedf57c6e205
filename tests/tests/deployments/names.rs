//! Every setting of Mimir's at once, in a file and as flags: the process that reads them is ready.

use e2e::{Distributor, Port};
use serde_json::{Map, Value, json};

/// Path, flag and kind of each.
const SETTINGS: &str = include_str!("../../../crates/distributor-config/src/mimir/settings.tsv");

struct Setting {
    path: &'static str,
    flag: &'static str,
    kind: &'static str,
}

fn settings() -> impl Iterator<Item = Setting> {
    let lines = SETTINGS.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| {
        let mut columns = line.split('\t');
        let mut next = || columns.next().unwrap();
        Setting {
            path: next(),
            flag: next(),
            kind: next(),
        }
    })
}

/// What the distributor has there itself, else something of the kind.
fn value(setting: &Setting, config: &Value) -> Value {
    let ours = setting
        .path
        .split('.')
        .try_fold(config, |value, key| value.get(key));
    match (ours, setting.kind) {
        (Some(value), _) => value.clone(),
        (None, "bool") => json!(true),
        (None, "int") => json!(-7),
        (None, "float") => json!(0.5),
        (None, "duration") => json!("1m"),
        (None, "list") => json!([{"a": 1}, "b"]),
        (None, "map") => json!({"a": {"b": "c"}}),
        (None, _) => json!("any"),
    }
}

fn put(tree: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(tree.insert(path.to_owned(), value)),
        Some((head, tail)) => {
            let section = tree.entry(head).or_insert_with(|| json!({}));
            put(section.as_object_mut().unwrap(), tail, value);
        }
    }
}

/// The text of a value after the `=` of a flag.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Starts one with `yaml` and `arguments`, and ports of its own, and waits until it is ready.
async fn ready(name: &str, yaml: &str, arguments: Vec<String>) -> Distributor {
    let (http, grpc) = (Port::reserve(), Port::reserve());
    let own = [
        "-config.file=mimir.yaml".to_owned(),
        "-config.strict".to_owned(),
        "-server.http-listen-address=127.0.0.1".to_owned(),
        format!("-server.http-listen-port={}", http.number()),
        "-server.grpc-listen-address=127.0.0.1".to_owned(),
        format!("-server.grpc-listen-port={}", grpc.number()),
    ];
    let arguments = arguments.into_iter().chain(own).collect();
    let files = [("mimir.yaml", yaml)];
    let mut distributor = Distributor::launch_by(name, &files, arguments, &[], (http, grpc));
    distributor.wait_ready().await;
    distributor
}

#[tokio::test]
async fn a_start_with_every_path_and_one_with_every_flag_are_ready() {
    let config = ready("defaults", "{}", Vec::new()).await;
    let config = config.get_json("/config").await.unwrap();

    let mut tree = Map::new();
    let paths = settings().filter(|setting| !setting.path.is_empty());
    for setting in paths {
        put(&mut tree, setting.path, value(&setting, &config));
    }
    let yaml = Value::Object(tree).to_string();
    let distributor = ready("every-path", &yaml, Vec::new()).await;
    let log = distributor.process.log();
    assert!(
        log.contains("alertmanager_storage, ") && log.contains("limits.ruler_"),
        "{log}"
    );

    let flags = settings().filter(|setting| !setting.flag.is_empty());
    let arguments: Vec<String> = flags
        .map(|setting| format!("-{}={}", setting.flag, text(&value(&setting, &config))))
        .collect();
    assert!(arguments.len() > 2_000, "{}", arguments.len());
    let distributor = ready("every-flag", "{}", arguments).await;
    let log = distributor.process.log();
    assert!(log.contains("-ruler-storage.backend, "), "{log}");
}
