//! Grafana's JSON, of schema version 39: Grafana 10.3 and later read it as it is, older ones of 10 too.
//! With every field that Grafana's schema asks for, also where what Grafana does without it is meant.

use serde_json::{Value, json};

use super::{Dashboard, Kind, Panel, Query, Row, SELECTOR, Variable};

const SCHEMA: u64 = 39;
const TAG: &str = "ha-distributor";
const COLUMNS: u64 = 24;

pub(super) fn dashboard(dashboard: &Dashboard) -> Value {
    let mut variables = vec![json!({
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": { "text": "default", "value": "default" },
        "hide": 0,
        "refresh": 1,
    })];
    variables.extend(dashboard.variables.iter().map(variable));
    json!({
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": [TAG],
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "schemaVersion": SCHEMA,
        "time": { "from": "now-3h", "to": "now" },
        "timezone": "browser",
        "annotations": { "list": [elections()] },
        "links": [{
            "type": "dashboards",
            "tags": [TAG],
            "title": "HA distributor",
            "icon": "external link",
            "tooltip": "",
            "targetBlank": false,
            "asDropdown": true,
            "includeVars": true,
            "keepTime": true,
        }],
        "templating": { "list": variables },
        "panels": panels(dashboard.rows),
    })
}

/// Marks elections in all panels.
fn elections() -> Value {
    json!({
        "name": "Elections",
        "datasource": datasource(),
        "enable": true,
        "iconColor": "orange",
        "expr": selected(
            "max by (user, cluster) (changes(cortex_ha_tracker_last_election_timestamp_seconds{@}[1m])) > 0"
        ),
        "step": "1m",
        "titleFormat": "Election",
        "textFormat": "{{user}} / {{cluster}}",
    })
}

fn variable(variable: &Variable) -> Value {
    let query = format!(
        "label_values({}, {})",
        selected(variable.metric),
        variable.of_label
    );
    json!({
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": datasource(),
        "query": { "query": query, "refId": variable.name },
        "definition": query,
        // Series without the label match as well.
        "allValue": ".*",
        "includeAll": true,
        "multi": true,
        "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
        "refresh": 2,
        "sort": 1,
    })
}

/// Rows one below the other, and the panels of each from left to right.
fn panels(rows: &[Row]) -> Vec<Value> {
    let mut panels = Vec::new();
    let mut y = 0;
    for row in rows {
        panels.push(json!({
            "id": panels.len() + 1,
            "type": "row",
            "title": row.title,
            "collapsed": false,
            "panels": [],
            "gridPos": { "x": 0, "y": y, "w": COLUMNS, "h": 1 },
        }));
        y += 1;
        let mut x = 0;
        let mut highest = 0;
        for panel in row.panels {
            if x + panel.width > COLUMNS {
                y += highest;
                (x, highest) = (0, 0);
            }
            let height = height(&panel.kind);
            let place = json!({ "x": x, "y": y, "w": panel.width, "h": height });
            panels.push(self::panel(panel, panels.len() + 1, &place));
            x += panel.width;
            highest = highest.max(height);
        }
        y += highest;
    }
    panels
}

fn height(kind: &Kind) -> u64 {
    match kind {
        Kind::Stat(_) => 4,
        Kind::Lines | Kind::Stacked | Kind::Timeline(_) | Kind::Table => 8,
    }
}

fn panel(panel: &Panel, id: usize, place: &Value) -> Value {
    let (kind, options) = options(&panel.kind);
    let instant = matches!(panel.kind, Kind::Table);
    let targets: Vec<Value> = ('A'..)
        .zip(panel.queries)
        .map(|(name, query)| target(query, name, instant))
        .collect();
    let mut panel_json = json!({
        "id": id,
        "type": kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": datasource(),
        "gridPos": place,
        "fieldConfig": { "defaults": defaults(panel), "overrides": [] },
        "options": options,
        "targets": targets,
    });
    if instant {
        panel_json["transformations"] = json!([
            { "id": "labelsToFields", "options": {} },
            { "id": "merge", "options": {} },
            { "id": "organize", "options": { "excludeByName": { "Time": true } } },
        ]);
    }
    panel_json
}

fn target(query: &Query, name: char, instant: bool) -> Value {
    json!({
        "refId": name.to_string(),
        "datasource": datasource(),
        "expr": selected(query.expr),
        "legendFormat": query.legend,
        "range": !instant,
        "instant": instant,
        "format": if instant { "table" } else { "time_series" },
    })
}

fn options(kind: &Kind) -> (&'static str, Value) {
    match kind {
        Kind::Lines | Kind::Stacked => (
            "timeseries",
            json!({
                "legend": legend(true),
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
        ),
        Kind::Stat(_) => (
            "stat",
            json!({
                "colorMode": "background",
                "graphMode": "none",
                "justifyMode": "auto",
                "orientation": "auto",
                "percentChangeColorMode": "standard",
                "showPercentChange": false,
                "wideLayout": true,
                "textMode": "value_and_name",
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
            }),
        ),
        Kind::Timeline(_) => (
            "state-timeline",
            json!({
                "mergeValues": true,
                "showValue": "auto",
                "rowHeight": 0.8,
                "legend": legend(false),
                "tooltip": { "mode": "single", "sort": "none" },
            }),
        ),
        Kind::Table => (
            "table",
            json!({ "frameIndex": 0, "showHeader": true, "cellHeight": "sm" }),
        ),
    }
}

fn legend(is_shown: bool) -> Value {
    json!({ "calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": is_shown })
}

fn defaults(panel: &Panel) -> Value {
    let mut defaults = json!({ "unit": panel.unit.as_str() });
    match panel.kind {
        Kind::Lines => defaults["custom"] = lines("none", 0),
        Kind::Stacked => defaults["custom"] = lines("normal", 30),
        Kind::Stat(steps) => {
            let steps: Vec<Value> = steps
                .iter()
                .map(|(color, from)| json!({ "color": color, "value": from }))
                .collect();
            defaults["color"] = json!({ "mode": "thresholds" });
            defaults["thresholds"] = json!({ "mode": "absolute", "steps": steps });
        }
        Kind::Timeline(texts) => {
            let options: serde_json::Map<String, Value> = texts
                .iter()
                .map(|(value, text, color)| {
                    ((*value).to_owned(), json!({ "text": text, "color": color }))
                })
                .collect();
            defaults["mappings"] = json!([{ "type": "value", "options": options }]);
            defaults["custom"] = json!({ "fillOpacity": 70, "lineWidth": 0 });
        }
        Kind::Table => {}
    }
    defaults
}

fn lines(stacking: &str, opacity: u64) -> Value {
    json!({
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": opacity,
        "showPoints": "never",
        "spanNulls": false,
        "stacking": { "mode": stacking, "group": "A" },
    })
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// The expression without the indentation of the source.
fn selected(expr: &str) -> String {
    crate::observability::yaml::unindented(expr)
        .join("\n")
        .replace('@', SELECTOR)
}
