//! The steps of a migration: the snippets of Grafana's guide as they are, and our own examples.

use std::path::{Path, PathBuf};

use super::{DOWNSTREAM, Process, from_yaml};
use crate::{Config, SecretUrl, StoreKind};

/// What a distributor reads and writes: store, primary, secondary, mirroring.
type Stores = (StoreKind, String, String, bool);

fn stores(config: &Config) -> Stores {
    let kvstore = &config.distributor.ha_tracker.kvstore;
    let multi = &kvstore.multi;
    (
        kvstore.store,
        multi.primary.clone(),
        multi.secondary.clone(),
        multi.mirroring.mirror_enabled,
    )
}

/// What a step must be, by the guide.
fn expected(step: u8, old: &str) -> Stores {
    let multi = |primary: &str, secondary: &str, mirror_enabled| {
        let (primary, secondary) = (primary.to_owned(), secondary.to_owned());
        (StoreKind::Multi, primary, secondary, mirror_enabled)
    };
    let alone = |name: &str| {
        let kind = StoreKind::single(name).unwrap();
        (kind, String::new(), String::new(), false)
    };
    match step {
        0 => alone(old),
        1 => multi(old, "memberlist", false),
        2 => multi(old, "memberlist", true),
        3 => multi("memberlist", old, true),
        4 => multi("memberlist", old, false),
        _ => alone("memberlist"),
    }
}

/// The snippets of <https://grafana.com/docs/mimir/latest/configure/>, "Migrate HA tracker from
/// Consul or etcd to memberlist", letter by letter: `$old` takes part in two lines of comments.
fn snippets(old: &str) -> [String; 5] {
    let old_section = match old {
        "consul" => {
            "      consul:
        # Your existing Consul configuration
        host: \"consul.default.svc.cluster.local:8500\"
"
        }
        _ => {
            "      etcd:
        # Your existing etcd configuration
        endpoints:
          - etcd.default.svc.cluster.local:2379
"
        }
    };
    let head = "distributor:
  ha_tracker:
    enable_ha_tracker: true
    kvstore:
";
    [
        format!(
            "{head}      store: multi
      multi:
        primary: {old}
        secondary: memberlist
        # Mirroring is disabled by default, we'll enable it in Step 2
        mirror_enabled: false
{old_section}      memberlist:
        # Memberlist configuration - typically shared with other components
        join_members:
          - mimir-gossip-ring.default.svc.cluster.local:7946
"
        ),
        format!(
            "{head}      store: multi
      multi:
        primary: {old} # or etcd
        secondary: memberlist
        mirror_enabled: true # Changed in this step
"
        ),
        format!(
            "{head}      store: multi
      multi:
        primary: memberlist # Changed in this step
        secondary: {old} # or etcd - changed in this step
        mirror_enabled: true
"
        ),
        format!(
            "{head}      store: multi
      multi:
        primary: memberlist
        secondary: {old} # or etcd
        mirror_enabled: false # Changed in this step
"
        ),
        format!(
            "{head}      store: memberlist # Changed in this step
      memberlist:
        join_members:
          - mimir-gossip-ring.default.svc.cluster.local:7946
"
        ),
    ]
}

/// Steps 2 to 4 of the guide show what changes only; etcd has no default address.
fn with_addresses(old: &str, text: &str) -> Config {
    let files = [
        (
            "before.yaml",
            "memberlist: {join_members: ['gossip:7946']}\n\
             distributor: {ha_tracker: {kvstore: {etcd: {endpoints: ['etcd:2379']}}}}",
        ),
        ("before.yaml", "memberlist: {join_members: ['gossip:7946']}"),
        ("c.yaml", text),
    ];
    let files = if old == "etcd" {
        [files[0], files[2]]
    } else {
        [files[1], files[2]]
    };
    let loaded = Process {
        files: &files,
        flags: &[DOWNSTREAM],
        ..Process::default()
    }
    .loaded();
    assert_eq!(loaded.warnings, Vec::<String>::new(), "{text}");
    loaded.config
}

#[test]
fn the_guides_snippets_load_as_they_are() {
    for old in ["consul", "etcd"] {
        for (step, text) in (1..).zip(snippets(old)) {
            let config = match step {
                1 | 5 => from_yaml(&text),
                _ => with_addresses(old, &text),
            };
            assert_eq!(stores(&config), expected(step, old), "step {step}: {text}");
            assert!(config.distributor.ha_tracker.enable_ha_tracker);
            if matches!(step, 1 | 5) {
                let join = &config.memberlist.join_members;
                assert_eq!(*join, ["mimir-gossip-ring.default.svc.cluster.local:7946"]);
            }
            if step == 1 {
                let kvstore = &config.distributor.ha_tracker.kvstore;
                let endpoints: Vec<_> = kvstore
                    .etcd
                    .endpoints
                    .iter()
                    .map(SecretUrl::expose)
                    .collect();
                match old {
                    "consul" => assert_eq!(
                        kvstore.consul.host.expose(),
                        "consul.default.svc.cluster.local:8500"
                    ),
                    _ => assert_eq!(endpoints, ["etcd.default.svc.cluster.local:2379"]),
                }
            }
        }
    }
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/migration")
}

fn example(name: &str) -> String {
    let path = examples().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn our_examples_are_the_steps() {
    for old in ["consul", "etcd"] {
        for step in 0..=5 {
            let text = example(&format!("{old}/step-{step}.yaml"));
            let loaded = Process {
                files: &[("c.yaml", &text)],
                flags: &[DOWNSTREAM],
                ..Process::default()
            }
            .loaded();
            assert_eq!(stores(&loaded.config), expected(step, old), "{text}");
            assert_eq!(loaded.warnings, Vec::<String>::new(), "{text}");
            let joins = loaded.config.memberlist.join_members;
            assert_eq!(joins.is_empty(), step == 0, "{text}");
        }
    }
}

/// What a chart hands to the distributor: the part below `mimir.structuredConfig`, templates filled.
#[test]
fn our_helm_values_hold_the_same_steps() {
    for old in ["consul", "etcd"] {
        for step in 1..=5 {
            let text = example(&format!("helm/{old}-step-{step}.yaml"));
            let head = "mimir:\n  structuredConfig:\n";
            let (_, config) = text.split_once(head).unwrap();
            let config: String = config
                .lines()
                .map(|line| format!("{}\n", line.strip_prefix("    ").unwrap()))
                .collect();
            assert!(config.contains("{{ .Release.Name }}"), "{text}");
            let filled = config
                .replace("{{ .Release.Name }}", "mimir")
                .replace("{{ .Release.Namespace }}", "prod");
            assert!(!filled.contains("{{"), "{filled}");
            let loaded = from_yaml(&filled);
            assert_eq!(stores(&loaded), expected(step, old), "{text}");
        }
    }
}

#[test]
fn no_example_is_left_out() {
    let mut names: Vec<String> = ["consul", "etcd", "runtime", "helm"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(examples().join(folder)).unwrap())
        .map(|entry| entry.unwrap().path().display().to_string())
        .collect();
    names.retain(|name| !name.contains("step-"));
    assert_eq!(names, Vec::<String>::new());
    assert_eq!(std::fs::read_dir(examples()).unwrap().count(), 4);
}
