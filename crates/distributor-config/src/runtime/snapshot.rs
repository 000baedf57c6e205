//! One state of the runtime configuration: parsing, lookup, rendering.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use figment::Figment;
use figment::value::Value;
use ingest::InstanceLimits;
use settings::AUTO;

use super::settling::Read;
use crate::errors::Findings;
use crate::mimir::Place;
use crate::model::Limits;
use crate::render::{Branch, Mode, Tree, at, plain, to_json, to_yaml};
use crate::schema::all_settings;
use crate::sources::collect::{Assignment, Collector};
use crate::sources::layers;
use crate::sources::yaml::{self, Content, Entry, Node};
use crate::subtables::{DISTRIBUTOR_LIMITS, runtime};
use crate::validate::check_limits;

/// `multi_kv_config` of the runtime configuration: what overrides the configured multi store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MultiKvOverride {
    /// Name of the store to use as primary, not yet checked against the configured ones.
    pub primary: Option<String>,
    /// Whether to mirror.
    pub mirror_enabled: Option<bool>,
}

/// `distributor_limits` of the runtime configuration: what overrides the configured limits of this
/// instance. `None` where nothing does.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InstanceLimitsOverride {
    /// Push requests in flight; 0 = no limit.
    pub max_inflight_push_requests: Option<u64>,
    /// Memory that push requests hold, bytes; 0 = no limit, `None` inside for `auto`.
    pub max_inflight_push_requests_bytes: Option<Option<u64>>,
    /// Samples per second; 0 = no limit.
    pub max_ingestion_rate: Option<f64>,
}

impl InstanceLimitsOverride {
    /// The limits that hold where these are configured.
    pub fn over(&self, configured: &InstanceLimits) -> InstanceLimits {
        InstanceLimits {
            max_inflight_push_requests: self
                .max_inflight_push_requests
                .unwrap_or(configured.max_inflight_push_requests),
            max_inflight_push_requests_bytes: self
                .max_inflight_push_requests_bytes
                .unwrap_or(configured.max_inflight_push_requests_bytes),
            max_ingestion_rate: self
                .max_ingestion_rate
                .unwrap_or(configured.max_ingestion_rate),
        }
    }
}

impl InstanceLimitsOverride {
    /// What it says, as it stands in a file.
    fn tree(&self) -> Tree {
        let bytes = self
            .max_inflight_push_requests_bytes
            .map(|bytes| bytes.map_or_else(|| AUTO.into(), serde_json::Value::from));
        let requests = self.max_inflight_push_requests.map(serde_json::Value::from);
        let rate = self.max_ingestion_rate.map(serde_json::Value::from);
        let mut tree = Tree::default();
        for (name, value) in [
            ("max_inflight_push_requests", requests),
            ("max_inflight_push_requests_bytes", bytes),
            ("max_ingestion_rate", rate),
        ] {
            if let Some(value) = value {
                tree.push(name, Branch::Leaf(plain(value)));
            }
        }
        tree
    }
}

/// What the runtime configuration said at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct RuntimeSnapshot {
    defaults: Arc<Limits>,
    overrides: HashMap<Box<str>, Arc<Limits>, ahash::RandomState>,
    multi_kv_config: Option<MultiKvOverride>,
    distributor_limits: InstanceLimitsOverride,
    sha256: String,
}

impl RuntimeSnapshot {
    /// Without any file.
    pub(super) fn empty(defaults: Arc<Limits>) -> Self {
        Self {
            defaults,
            overrides: HashMap::default(),
            multi_kv_config: None,
            distributor_limits: InstanceLimitsOverride::default(),
            sha256: String::new(),
        }
    }

    /// Merges `texts` (later ones win) over `defaults`. `None` with any
    /// mistake, which is in `findings`.
    pub(super) fn parse(
        texts: &[Read],
        defaults: &Arc<Limits>,
        sha256: String,
        findings: &mut Findings,
    ) -> Option<Self> {
        // Keys of a tenant, in the order of the files.
        let mut tenants: BTreeMap<String, Vec<Assignment>> = BTreeMap::new();
        let mut sections = Vec::new();
        for Read { file, text, .. } in texts {
            let entries = yaml::parse_mapping(file, text, findings);
            let (overrides, others): (Vec<Entry>, Vec<Entry>) = entries
                .into_iter()
                .partition(|entry| entry.key == "overrides");
            let mut collector = Collector::new(file, runtime(), Place::Runtime, findings);
            collector.section(&others, "", "");
            sections.append(&mut collector.found);
            for entry in overrides {
                for (tenant, line, node) in mapping_of(file, "overrides", entry, findings) {
                    let shown = format!("overrides.{tenant}");
                    let entry = Entry {
                        key: tenant.clone(),
                        line,
                        value: node,
                    };
                    let fields = mapping_of(file, &shown, entry, findings)
                        .into_iter()
                        .map(|(key, line, value)| Entry { key, line, value })
                        .collect::<Vec<_>>();
                    let mut collector =
                        Collector::new(file, all_settings(), Place::Overrides, findings);
                    collector.section(&fields, "limits", &shown);
                    tenants
                        .entry(tenant)
                        .or_default()
                        .append(&mut collector.found);
                }
            }
        }
        let base = layers::defaults_from(&Nested {
            limits: defaults.as_ref(),
        });
        let mut overrides = HashMap::default();
        for (tenant, assignments) in tenants {
            if assignments.is_empty() {
                continue;
            }
            let limits = tenant_limits(&base, &tenant, assignments, findings);
            overrides.insert(tenant.into_boxed_str(), Arc::new(limits?));
        }
        let (instance, multi): (Vec<_>, Vec<_>) = sections
            .into_iter()
            .partition(|found: &Assignment| found.path.starts_with(DISTRIBUTOR_LIMITS));
        let multi_kv_config = (!multi.is_empty()).then(|| multi_kv_override(&multi));
        let defaults = Arc::clone(defaults);
        let snapshot = Self {
            defaults,
            overrides,
            multi_kv_config,
            distributor_limits: instance_limits_override(&instance),
            sha256,
        };
        findings.errors.is_empty().then_some(snapshot)
    }

    /// The limits of `tenant`: its overrides, else the defaults.
    pub fn limits(&self, tenant: &str) -> &Arc<Limits> {
        self.overrides.get(tenant).unwrap_or(&self.defaults)
    }

    /// The tenants that override something, with their complete limits, in no order.
    pub fn tenants(&self) -> impl Iterator<Item = (&str, &Arc<Limits>)> {
        self.overrides
            .iter()
            .map(|(tenant, limits)| (tenant.as_ref(), limits))
    }

    /// What overrides the configured multi store, if anything does.
    pub fn multi_kv_config(&self) -> Option<&MultiKvOverride> {
        self.multi_kv_config.as_ref()
    }

    /// What overrides the configured limits of this instance.
    pub fn distributor_limits(&self) -> &InstanceLimitsOverride {
        &self.distributor_limits
    }

    /// SHA-256 of the files, in hexadecimal; empty without files.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// As YAML that loads again. [`Mode::Full`]: each tenant with all its limits;
    /// [`Mode::Diff`]: only what differs from the defaults; [`Mode::Defaults`]: the defaults.
    pub fn render_yaml(&self, mode: Mode) -> String {
        self.render_yaml_of(mode, |_| true)
    }

    /// As [`RuntimeSnapshot::render_yaml`], of the tenants that `is_shown` names only.
    pub fn render_yaml_of(&self, mode: Mode, is_shown: impl Fn(&str) -> bool) -> String {
        to_yaml(&self.tree(mode, is_shown))
    }

    /// The same as JSON.
    pub fn render_json(&self, mode: Mode) -> serde_json::Value {
        to_json(&self.tree(mode, |_| true))
    }

    fn tree(&self, mode: Mode, is_shown: impl Fn(&str) -> bool) -> Tree {
        let mut tree = Tree::default();
        if mode == Mode::Defaults {
            tree.push("limits", Branch::Section(limits_tree(&self.defaults, None)));
            return tree;
        }
        let base = (mode == Mode::Diff).then_some(self.defaults.as_ref());
        let tenants = self.tenants();
        let mut tenants: Vec<_> = tenants.filter(|(tenant, _)| is_shown(tenant)).collect();
        tenants.sort_unstable_by_key(|(tenant, _)| *tenant);
        let mut overrides = Tree::default();
        for (tenant, limits) in tenants {
            overrides.push(tenant, Branch::Section(limits_tree(limits, base)));
        }
        tree.push("overrides", Branch::Section(overrides));
        if let Some(multi) = &self.multi_kv_config {
            let mut section = Tree::default();
            if let Some(primary) = &multi.primary {
                section.push("primary", Branch::Leaf(primary.as_str().into()));
            }
            if let Some(enabled) = multi.mirror_enabled {
                section.push("mirror_enabled", Branch::Leaf(enabled.into()));
            }
            tree.push("multi_kv_config", Branch::Section(section));
        }
        let limits = self.distributor_limits.tree();
        if !limits.is_empty() {
            tree.push(DISTRIBUTOR_LIMITS, Branch::Section(limits));
        }
        tree
    }
}

/// Limits where the table has them.
#[derive(serde::Serialize, serde::Deserialize)]
struct Nested<T> {
    limits: T,
}

fn mapping_of(
    file: &str,
    shown: &str,
    entry: Entry,
    findings: &mut Findings,
) -> Vec<(String, usize, Node)> {
    match entry.value.content {
        Content::Mapping(entries) => entries
            .into_iter()
            .map(|entry| (entry.key, entry.line, entry.value))
            .collect(),
        Content::Null => Vec::new(),
        other => {
            let problem = format!("got {}; must be a mapping", other.word());
            findings.error(&yaml::at(file, entry.line), shown, problem);
            Vec::new()
        }
    }
}

fn tenant_limits(
    base: &Figment,
    tenant: &str,
    assignments: Vec<Assignment>,
    findings: &mut Findings,
) -> Option<Limits> {
    let figment = layers::merge(base.clone(), assignments);
    let limits = layers::extract::<Nested<Limits>>(&figment, findings)?.limits;
    let section = format!("overrides.{tenant}");
    let origin_of = |path: &str| {
        let name = path.strip_prefix(&section).unwrap_or_default();
        layers::origin_of(&figment, &format!("limits{name}"))
    };
    check_limits(&limits, &section, &origin_of, findings);
    Some(limits)
}

/// Later ones win, as in the order of the files.
fn instance_limits_override(found: &[Assignment]) -> InstanceLimitsOverride {
    let mut result = InstanceLimitsOverride::default();
    for assignment in found {
        let value = &assignment.value;
        let name = assignment.path.rsplit('.').next();
        match name.unwrap_or_default() {
            "max_inflight_push_requests" => {
                result.max_inflight_push_requests = value.deserialize().ok();
            }
            "max_inflight_push_requests_bytes" => {
                result.max_inflight_push_requests_bytes = match value.as_str() {
                    // The only text that the table lets through is `auto`.
                    Some(_) => Some(None),
                    None => value.deserialize().ok().map(Some),
                };
            }
            "max_ingestion_rate" => result.max_ingestion_rate = value.deserialize().ok(),
            _ => {}
        }
    }
    result
}

fn multi_kv_override(found: &[Assignment]) -> MultiKvOverride {
    let mut result = MultiKvOverride::default();
    for assignment in found {
        match &assignment.value {
            Value::String(_, primary) => result.primary = Some(primary.clone()),
            Value::Bool(_, enabled) => result.mirror_enabled = Some(*enabled),
            _ => {}
        }
    }
    result
}

/// All limits, or those that differ from `base`.
fn limits_tree(limits: &Limits, base: Option<&Limits>) -> Tree {
    let values = serde_json::to_value(limits).unwrap_or_default();
    let base = base.map(|base| serde_json::to_value(base).unwrap_or_default());
    let mut tree = Tree::default();
    for name in all_settings()
        .iter()
        .filter_map(|setting| setting.path.strip_prefix("limits."))
    {
        let value = at(&values, name);
        if base.as_ref().is_none_or(|base| at(base, name) != value) {
            tree.push(name, Branch::Leaf(plain(value)));
        }
    }
    tree
}
