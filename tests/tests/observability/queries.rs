//! Each query of the dashboards and rules, over a fleet that has an HA pair, a failover and a
//! migration behind it.

use std::collections::BTreeSet;
use std::fs;

use e2e::{Fault, LONG, Prometheus, Sink, Version, wait_for};
use serde_json::{Value, json};

use crate::common::{assert_stored, ha_series, plain_series};
use crate::fleet::{JOB, NAMESPACE, ObservedFleet, TENANT};
use crate::rules::shipped;

const DASHBOARDS: [&str; 3] = ["ha-tracker", "gossip", "migration"];

/// Alerts about time, which is short on a busy machine: they may be pending. Packets are dropped when
/// a member has no time to take them.
const ABOUT_TIME: [&str; 6] = [
    "HaDistributorDownstreamSlow",
    "HaDistributorGossipPacketsDropped",
    "HaDistributorGossipSlow",
    "HaDistributorGossipUnhealthy",
    "HaDistributorStoreSlow",
    "HaDistributorClockSkew",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_query_has_data_and_no_alert_fires_by_mistake() {
    let mut fleet = ObservedFleet::start().await;
    fleet.take_step(0).await;
    fleet.take_step(1).await;
    fleet.take_step(2).await;
    wait_until_safe(&fleet.prometheus).await;
    fleet.take_step(3).await;
    fleet.fail_over().await;
    wait_until_safe(&fleet.prometheus).await;
    only_the_failover_fires(&fleet.prometheus).await;

    refuse_something(&fleet).await;
    for dashboard in DASHBOARDS {
        has_data(&fleet, dashboard).await;
    }
    every_record_has_data(&fleet.prometheus).await;

    fleet.stop_etcd();
    every_selector_of_an_alert_has_data(&fleet.prometheus).await;
    wait_for("STOP, since the secondary store fails", LONG, || async {
        one(&fleet.prometheus, "job:ha_distributor_migration_safe == 0").await
    })
    .await;
    fleet.take_step(4).await;
    fleet.take_step(5).await;
}

async fn wait_until_safe(prometheus: &Prometheus) {
    wait_for("the next step to be safe", LONG, || async {
        one(prometheus, "job:ha_distributor_migration_safe == 1").await
    })
    .await;
}

async fn one(prometheus: &Prometheus, query: &str) -> Result<(), String> {
    match prometheus.query(query).await? {
        rows if rows.len() == 1 => Ok(()),
        rows => Err(format!("{query}: {rows:?}")),
    }
}

async fn only_the_failover_fires(prometheus: &Prometheus) {
    wait_for("the alerts of a healthy fleet", LONG, || async {
        let alerts = prometheus.api("alerts", &[]).await?;
        let named = |state: &str| -> BTreeSet<String> {
            let all = alerts["alerts"].as_array().unwrap().iter();
            all.filter(|alert| alert["state"] == state)
                .map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned())
                .collect()
        };
        let mut pending = named("pending");
        pending.retain(|name| !ABOUT_TIME.contains(&name.as_str()));
        let firing: Vec<String> = named("firing").into_iter().collect();
        match firing == ["HaDistributorFailover"] && pending.is_empty() {
            true => Ok(()),
            false => Err(format!("firing: {firing:?}, pending: {pending:?}")),
        }
    })
    .await;
}

/// What the panels about errors and refusals show.
async fn refuse_something(fleet: &ObservedFleet) {
    let sender = fleet.sender();
    let one_too_many = sender.send(Version::V1, &[ha_series("m", "c3", "a")]).await;
    assert_eq!(one_too_many.status, 400);
    let too_long = "c".repeat(2000);
    let refused = sender
        .send(Version::V1, &[ha_series("m", &too_long, "a")])
        .await;
    assert_eq!(refused.status, 400);
    let unlabelled = sender.send(Version::V1, &[plain_series("m")]).await;
    assert_stored(&unlabelled, Version::V1);
    for status in [400, 503] {
        until_a_push_meets(&fleet.sink, fleet, status).await;
    }
}

/// The pair sends as well, and can be the one whom the fault meets.
async fn until_a_push_meets(sink: &Sink, fleet: &ObservedFleet, status: u16) {
    wait_for(&format!("a {status} of the downstream"), LONG, || async {
        sink.fail_next(1, &Fault::status(status));
        let expected =
            format!(r#"cortex_distributor_downstream_request_duration_seconds_count{{status_code="{status}"}} > 1"#);
        match fleet.prometheus.query(&expected).await? {
            rows if rows.is_empty() => Err("not yet".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
}

/// Each panel, variable and annotation of a dashboard.
async fn has_data(fleet: &ObservedFleet, name: &str) {
    let text = fs::read_to_string(shipped(&format!("dashboards/{name}.json"))).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut queries: Vec<(String, String)> = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = format!("{name}: {}", panel["title"].as_str().unwrap());
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().unwrap().len() > 20, "{title}");
        for target in panel["targets"].as_array().unwrap() {
            queries.push((title.clone(), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    assert!(queries.len() > 10, "{name}: {queries:?}");
    for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
        let expr = annotation["expr"].as_str().unwrap();
        // Elections, of which there is none in most minutes.
        queries.push(("annotation".to_owned(), expr.replace("[1m]", "[10m]")));
    }
    for (title, query) in queries {
        let query = fixed(&query);
        wait_for(&title, LONG, || async {
            match fleet.prometheus.query(&query).await? {
                rows if rows.iter().any(|row| row["value"][1] != "NaN") => Ok(()),
                rows => Err(format!("no data: {query}: {rows:?}")),
            }
        })
        .await;
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let Some(definition) = variable["definition"].as_str() else {
            assert_eq!(variable["type"], "datasource");
            continue;
        };
        let inner = definition
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(')'))
            .unwrap();
        let (selector, label) = inner.rsplit_once(", ").unwrap();
        let series = fleet.prometheus.series(&fixed(selector)).await.unwrap();
        let has_label = series.iter().any(|labels| labels.contains_key(label));
        assert!(has_label, "{definition}: {series:?}");
    }
}

/// With values for Grafana's variables.
fn fixed(query: &str) -> String {
    let query = query
        .replace("$__rate_interval", "1m")
        .replace("$namespace", NAMESPACE)
        .replace("$job", JOB)
        .replace("$tenant", TENANT)
        .replace("$cluster", ".*");
    assert!(!query.contains('$'), "a variable is left: {query}");
    query
}

/// The rules as Prometheus has loaded them.
async fn rules(prometheus: &Prometheus, kind: &str) -> Vec<Value> {
    let loaded = prometheus.api("rules", &[]).await.unwrap();
    let groups = loaded["groups"].as_array().unwrap().clone();
    let all = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap());
    let rules: Vec<Value> = all.filter(|rule| rule["type"] == kind).cloned().collect();
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    rules
}

async fn every_record_has_data(prometheus: &Prometheus) {
    let records = rules(prometheus, "recording").await;
    assert!(records.len() > 5, "{records:?}");
    for record in records {
        let name = record["name"].as_str().unwrap();
        wait_for(name, LONG, || async {
            match prometheus.query(name).await? {
                rows if rows.is_empty() => Err("no data".to_owned()),
                _ => Ok(()),
            }
        })
        .await;
    }
}

/// An alert that does not fire has no data, so what it selects is looked for instead.
async fn every_selector_of_an_alert_has_data(prometheus: &Prometheus) {
    let alerts = rules(prometheus, "alerting").await;
    assert!(alerts.len() > 30, "{alerts:?}");
    let mut selectors = BTreeSet::new();
    for rule in alerts.iter().chain(&rules(prometheus, "recording").await) {
        let query = rule["query"].as_str().unwrap();
        let tree = prometheus.api("parse_query", &[("query", query)]).await;
        collect_selectors(&tree.unwrap(), &mut selectors);
    }
    assert!(selectors.len() > 40, "{selectors:?}");
    for selector in selectors {
        let query = format!("last_over_time({selector}[10m])");
        wait_for(&selector, LONG, || async {
            match prometheus.query(&query).await? {
                rows if rows.is_empty() => Err("no data".to_owned()),
                _ => Ok(()),
            }
        })
        .await;
    }
}

/// The series that an expression reads, each as a selector.
fn collect_selectors(node: &Value, selectors: &mut BTreeSet<String>) {
    if node["type"] == "vectorSelector" || node["type"] == "matrixSelector" {
        let matchers = node["matchers"].as_array().unwrap().iter();
        let matchers: Vec<String> = matchers
            .map(|matcher| {
                let text = |key: &str| matcher[key].as_str().unwrap().to_owned();
                format!("{}{}{}", text("name"), text("type"), json!(text("value")))
            })
            .collect();
        selectors.insert(format!("{{{}}}", matchers.join(", ")));
    }
    let children: Vec<&Value> = match node {
        Value::Object(fields) => fields.values().collect(),
        Value::Array(elements) => elements.iter().collect(),
        _ => return,
    };
    for child in children {
        collect_selectors(child, selectors);
    }
}
