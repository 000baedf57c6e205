//! What the Helm chart renders for each step: its golden files, which `cargo xtask chart` compares with
//! what Helm renders.

use std::fs;
use std::path::Path;

use super::plan::{OldStore, Step};

const GOLDEN: &str = "../deploy/helm/tests/golden";

/// The configurations in the manifests of all steps, in order.
pub(super) fn steps(from: OldStore) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    let steps = 0..=Step::LAST.number();
    steps
        .map(|step| {
            let file = folder.join(format!("{}-step-{step}.yaml", from.name()));
            let manifests = fs::read_to_string(&file);
            let manifests = manifests.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            config(&manifests)
        })
        .collect()
}

/// The configuration in the Secret.
fn config(manifests: &str) -> String {
    const INDENT: &str = "    ";
    let mut lines = manifests.lines();
    lines
        .find(|line| *line == "  distributor.yaml: |")
        .expect("no configuration is rendered");
    let lines = lines.map_while(|line| line.strip_prefix(INDENT));
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_golden_files_have_a_configuration_for_each_step() {
        let steps = steps(OldStore::Consul);
        assert_eq!(steps.len(), 6);
        let stores = ["consul", "multi", "multi", "multi", "multi", "memberlist"];
        for (config, store) in steps.iter().zip(stores) {
            let store = format!("      store: {store}\n");
            assert!(config.starts_with("distributor:\n"), "{config}");
            assert!(config.contains(&store), "{config}");
            assert!(config.ends_with("shutdown_delay: 5s\n"), "{config}");
        }
    }
}
