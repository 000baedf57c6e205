//! What people and Prometheus see of a distributor: pages, metrics, and what needs attention.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::{assert_stored, assert_text, elected, ha_config, ha_series, plain_series, tracked};
use e2e::{
    Answer, Distributor, Etcd, Fault, LONG, Port, Prometheus, PrometheusConfig, PrometheusVersion,
    Sink, Version, get, wait_for,
};
use serde_json::{Value, json};

/// The `Accept` header of Chromium for a page.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,\
     image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7";

async fn browse(distributor: &Distributor, path: &str) -> Answer {
    get(&distributor.url(path), Some(BROWSER)).await.unwrap()
}

#[tokio::test]
async fn prometheus_reads_the_metrics_in_both_formats_whatever_senders_are_called() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("scraped", &ha_config(&sink, &json!({}))).await;
    let names = [
        "usual",
        "a\0b",
        "\r",
        "\"\n\\",
        "\u{85}\u{202e}\u{1b}[2J",
        "# EOF",
    ];
    for name in names {
        let answer = distributor
            .sender("t")
            .send(Version::V1, &[ha_series("m", name, name)])
            .await;
        assert_stored(&answer, Version::V1);
    }
    for (version, scrape_text) in [
        (PrometheusVersion::V2, false),
        (PrometheusVersion::V3, false),
        (PrometheusVersion::V3, true),
    ] {
        let config = PrometheusConfig {
            targets: vec![distributor.http_address().to_string()],
            scrape_text,
            ..PrometheusConfig::receiver(version)
        };
        let prometheus = Prometheus::start("scraper", &config).await;
        wait_for("a scrape of every cluster", LONG, || async {
            let series = prometheus
                .query("count by (job) (cortex_ha_tracker_kv_store_cas_total)")
                .await?;
            let up = prometheus.query("up == 1").await?;
            let count = series.first().map(|row| row["value"][1].clone());
            if up.len() == 1 && count == Some(json!(names.len().to_string())) {
                Ok(())
            } else {
                Err(format!("{version:?} {scrape_text}: {up:?} {series:?}"))
            }
        })
        .await;
        // Its type comes from the comments.
        let metadata = prometheus.metadata().await.unwrap().to_string();
        assert!(
            metadata.contains("cortex_distributor_received_samples"),
            "{metadata}"
        );
    }
}

#[tokio::test]
async fn every_page_leads_back_and_can_be_used_without_a_mouse() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("browsed", &ha_config(&sink, &json!({}))).await;
    let series = [ha_series("m", "c", "r")];
    let answer = distributor.sender("t").send(Version::V1, &series).await;
    assert_stored(&answer, Version::V1);
    for path in [
        "/",
        "/services",
        "/config",
        "/config?mode=diff",
        "/runtime_config",
        "/distributor/ha_tracker",
        "/distributor/ha_tracker?sort=last-seen&state=fine&page=7",
        "/distributor/ha_tracker?q=&tenant=&cluster=&replica=&state=&sort=&rows=50",
        "/distributor/ha_tracker/cluster?tenant=t&cluster=c",
        "/distributor/ha_tracker/cluster?tenant=t&cluster=nothing",
        "/distributor/ha_tracker/elections",
        "/distributor/ha_tracker/why",
        "/distributor/ha_tracker/why?tenant=t&cluster=c&replica=r",
        "/distributor/multi_kv",
        "/memberlist",
        "/memberlist?viewKey=ha-tracker/t/c",
        "/memberlist?viewKey=nothing",
        "/nothing/here",
    ] {
        let answer = browse(&distributor, path).await;
        let status = if path.contains("nothing") { 404 } else { 200 };
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert_eq!(
            answer.header("content-type"),
            Some("text/html; charset=utf-8"),
            "{path}"
        );
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"),
            "{path}: {policy}"
        );
        let page = &answer.body;
        for part in [
            "<html lang=\"en\">",
            "<title>",
            "<nav aria-label=\"Pages\">",
            "<a href=\"/\"",
            "rel=\"icon\" href=\"data:image/svg+xml,",
            "<main id=\"content\"",
        ] {
            assert!(page.contains(part), "{path}: {part} is missing in {page}");
        }
        // What can be scrolled can be reached, and has a name.
        let scrolled = page.matches("<table").count() + page.matches("<pre").count();
        let reached = page.matches("role=\"region\"").count();
        assert!(reached >= scrolled, "{path}: {page}");
        assert_eq!(page.matches("tabindex=\"0\"").count(), reached, "{path}");
        let inputs = page.matches("<input").count() - page.matches("type=\"hidden\"").count();
        assert!(page.matches("<label").count() >= inputs, "{path}: {page}");
    }
    let config = browse(&distributor, "/config").await.body;
    assert!(config.contains("href=\"/config?mode=diff\""), "{config}");
    assert!(config.contains("accept_ha_samples: true"), "{config}");
    let icon = browse(&distributor, "/favicon.ico").await;
    assert_eq!(
        (icon.status, icon.header("content-type")),
        (200, Some("image/svg+xml"))
    );
    // A browser shows it, it does not offer to save it.
    let metrics = browse(&distributor, "/metrics").await;
    assert!(
        metrics
            .header("content-type")
            .unwrap()
            .starts_with("text/plain")
    );
    // Programs are told in a line.
    let answer = distributor.get("/nothing/here").await.unwrap();
    assert_text(&answer, 404, &["nothing at /nothing/here"]);
}

#[tokio::test]
async fn the_tracker_page_tells_of_each_replica_when_it_was_seen() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("replicas", &ha_config(&sink, &json!({}))).await;
    let name = "prometheus-kube-prometheus-stack-prometheus";
    for replica in ["0", "1"] {
        let series = [ha_series("m", "pair", &format!("{name}-{replica}"))];
        distributor.sender("t").send(Version::V1, &series).await;
    }
    let series = [ha_series("m", "single", &format!("{name}-0"))];
    distributor.sender("t").send(Version::V1, &series).await;

    let row = elected(&distributor, "t", "pair").await.unwrap();
    assert_eq!(row["state"], "fine", "{row}");
    assert_eq!(row["otherReplicas"][0]["replica"], format!("{name}-1"));
    for time in [&row["lastSeen"], &row["otherReplicas"][0]["lastSeen"]] {
        humantime::parse_rfc3339(time.as_str().unwrap()).unwrap();
    }
    let row = elected(&distributor, "t", "single").await.unwrap();
    assert_eq!(row["state"], "alone", "{row}");

    let path = "/distributor/ha_tracker";
    let page = browse(&distributor, path).await.body;
    // Both names, whole; what needs attention first.
    assert!(page.contains(&format!("{name}-0")) && page.contains(&format!("{name}-1")));
    assert!(
        page.find(">single<").unwrap() < page.find(">pair<").unwrap(),
        "{page}"
    );
    let page = browse(&distributor, &format!("{path}?replica=prometheus-1"))
        .await
        .body;
    assert!(
        page.contains(">pair<") && !page.contains(">single<"),
        "{page}"
    );
}

async fn conditions(distributor: &Distributor) -> Result<Vec<Value>, String> {
    let index = distributor.get_json("/").await?;
    Ok(index["conditions"].as_array().unwrap().clone())
}

/// Waits until the index says so; returns it.
async fn wait_told(distributor: &Distributor, component: &str, part: &str) -> Value {
    wait_for(&format!("{part} on the index"), LONG, || async {
        let conditions = conditions(distributor).await?;
        let found = conditions.iter().find(|condition| {
            condition["component"] == component
                && condition["what"].as_str().unwrap().contains(part)
        });
        found.cloned().ok_or(format!("{conditions:?}"))
    })
    .await
}

async fn status_of(distributor: &Distributor, name: &str) -> Value {
    let services = distributor.get_json("/services").await.unwrap();
    let services = services["services"].as_array().unwrap();
    let service = services.iter().find(|service| service["name"] == name);
    service.unwrap()["status"].clone()
}

#[tokio::test]
async fn the_index_says_what_is_wrong_with_what_senders_send() {
    let sink = Sink::start().await;
    let more = json!({"limits": {"ha_max_clusters": 1}});
    let distributor = Distributor::start("attentive", &ha_config(&sink, &more)).await;
    let sender = distributor.sender("t");
    let series = [ha_series("m", "first", "r")];
    assert_stored(&sender.send(Version::V1, &series).await, Version::V1);
    assert_eq!(conditions(&distributor).await.unwrap(), Vec::<Value>::new());
    assert_eq!(status_of(&distributor, "senders").await, "Running");
    let index = browse(&distributor, "/").await.body;
    assert!(
        index.contains("Nothing that this distributor knows of"),
        "{index}"
    );

    let answer = sender
        .send(Version::V1, &[ha_series("m", "second", "r")])
        .await;
    assert_text(&answer, 400, &["ha_max_clusters"]);
    assert_stored(
        &sender.send(Version::V1, &[plain_series("m")]).await,
        Version::V1,
    );
    let limit = wait_told(&distributor, "senders", "too_many_ha_clusters").await;
    assert_eq!(limit["severity"], "warning");
    assert!(
        limit["remedy"]
            .as_str()
            .unwrap()
            .contains("limits.ha_max_clusters"),
        "{limit}"
    );
    humantime::parse_rfc3339(limit["since"].as_str().unwrap()).unwrap();
    wait_told(&distributor, "senders", "neither HA label").await;
    assert_eq!(status_of(&distributor, "senders").await, "Needs attention");
    let index = browse(&distributor, "/").await.body;
    for part in [
        "senders: warning",
        "too_many_ha_clusters",
        "neither HA label",
        "since ",
    ] {
        assert!(index.contains(part), "{part} is missing in {index}");
    }
}

/// Waits until the log has one line with all of `parts`.
async fn wait_line(distributor: &Distributor, parts: &[&str]) {
    wait_for(&format!("a line with {parts:?}"), LONG, || async {
        let log = distributor.process.log();
        let has_all = |line: &&str| parts.iter().all(|part| line.contains(part));
        match log.lines().filter(has_all).count() {
            1 => Ok(()),
            count => Err(format!("{count} lines in {log}")),
        }
    })
    .await;
}

/// Waits until nothing is wrong with a component, by pushing what is right.
async fn wait_over(distributor: &Distributor, component: &str) {
    wait_for(
        &format!("the end of the outage of {component}"),
        LONG,
        || async {
            let answer = distributor
                .sender("t")
                .send(Version::V1, &[ha_series("m", "c", "r")])
                .await;
            let conditions = conditions(distributor).await?;
            if conditions
                .iter()
                .any(|condition| condition["component"] == component)
            {
                Err(format!("{} {conditions:?}", answer.status))
            } else {
                Ok(())
            }
        },
    )
    .await;
}

#[tokio::test]
async fn the_index_says_that_a_downstream_fails_until_it_does_not() {
    let sink = Sink::start().await;
    let more = json!({"distributor": {"downstream": [{"url": sink.url(), "name": "far"}]}});
    let distributor = Distributor::start("down", &ha_config(&sink, &more)).await;
    sink.fail(Fault::status(503));
    for _ in 0..3 {
        let answer = distributor
            .sender("t")
            .send(Version::V1, &[ha_series("m", "c", "r")])
            .await;
        assert_eq!(answer.status, 503);
    }
    let failing = wait_told(
        &distributor,
        "downstream far",
        "Requests to it fail (3 so far)",
    )
    .await;
    assert_eq!(failing["severity"], "critical");
    // Not what senders are told to do.
    assert!(
        !failing["what"].as_str().unwrap().contains("retry"),
        "{failing}"
    );
    assert_eq!(status_of(&distributor, "downstream far").await, "Failing");
    let index = browse(&distributor, "/").await.body;
    assert!(index.contains("downstream far: critical"), "{index}");
    sink.heal();
    wait_over(&distributor, "downstream far").await;
    assert_eq!(status_of(&distributor, "downstream far").await, "Running");
    wait_line(
        &distributor,
        &[
            "level=warn",
            "requests to a downstream fail",
            "downstream=far",
        ],
    )
    .await;
    wait_line(
        &distributor,
        &["level=info", "the downstream answers again"],
    )
    .await;
}

#[tokio::test]
async fn the_index_says_that_the_runtime_configuration_is_refused() {
    let sink = Sink::start().await;
    let more = json!({"runtime_config": {"file": "overrides.yaml", "period": "1s"}});
    let mut distributor = Distributor::launch("refused", &ha_config(&sink, &more));
    distributor.write_file("overrides.yaml", "overrides: {t: {ha_max_clusters: 7}}\n");
    // It may have looked before the file was there.
    distributor.restart().await;
    distributor.write_file(
        "overrides.yaml",
        "overrides: {t: {ha_max_clusters: many}}\n",
    );
    let refused = wait_told(
        &distributor,
        "runtime-config",
        "overrides.t.ha_max_clusters",
    )
    .await;
    assert_eq!(refused["severity"], "warning");
    assert_eq!(
        status_of(&distributor, "runtime-config").await,
        "Needs attention"
    );
    distributor.write_file("overrides.yaml", "overrides: {t: {ha_max_clusters: 7}}\n");
    wait_over(&distributor, "runtime-config").await;
    assert_eq!(
        status_of(&distributor, "runtime-config").await,
        "Running (1 files)"
    );
}

#[tokio::test]
async fn overrides_of_many_tenants_are_cut_into_pages() {
    let sink = Sink::start().await;
    let more = json!({"runtime_config": {"file": "overrides.yaml", "period": "1s"}});
    let mut distributor = Distributor::launch("tenants", &ha_config(&sink, &more));
    let tenants: Vec<String> = (100..220)
        .map(|number| format!("  team-{number}: {{ha_max_clusters: 7}}\n"))
        .collect();
    distributor.write_file(
        "overrides.yaml",
        &format!("overrides:\n{}", tenants.concat()),
    );
    // It may have looked before the file was there.
    distributor.restart().await;
    let page = browse(&distributor, "/runtime_config?mode=diff&page=2")
        .await
        .body;
    let shown = page.matches("ha_max_clusters").count();
    assert_eq!(shown, 50, "{page}");
    assert!(page.contains("Rows 51 to 100 of 120"), "{page}");
    assert!(
        page.contains("team-150:") && page.contains("team-199:"),
        "{page}"
    );
    let page = browse(&distributor, "/runtime_config?mode=diff&tenant=TEAM-21")
        .await
        .body;
    assert_eq!(page.matches("ha_max_clusters").count(), 10, "{page}");
    // Programs get all.
    let yaml = distributor
        .get("/runtime_config?mode=diff")
        .await
        .unwrap()
        .body;
    assert_eq!(yaml.matches("ha_max_clusters").count(), 120, "{yaml}");
}

#[tokio::test]
async fn the_index_says_that_the_store_is_away() {
    let sink = Sink::start().await;
    let mut etcd = Etcd::start("store").await;
    let kvstore = json!({"store": "etcd", "etcd": {"endpoints": [etcd.endpoint()]}});
    let more = json!({"distributor": {"ha_tracker": {"kvstore": kvstore}}});
    let distributor = Distributor::start("storeless", &ha_config(&sink, &more)).await;
    assert_eq!(conditions(&distributor).await.unwrap(), Vec::<Value>::new());
    etcd.process.sigkill();
    let away = wait_told(&distributor, "kv-store", "(etcd) is failing").await;
    assert_eq!(away["severity"], "critical");
    assert_eq!(status_of(&distributor, "kv-store").await, "Failing");
    etcd.restart().await;
    wait_over(&distributor, "kv-store").await;
    wait_line(&distributor, &["level=info", "store answers again"]).await;
}

#[tokio::test]
async fn the_index_says_that_gossip_is_alone_until_it_is_not() {
    let sink = Sink::start().await;
    let port = Port::reserve();
    let joins = json!({"memberlist": {"join_members": [port.address().to_string()]}});
    let first = Distributor::start("alone", &ha_config(&sink, &joins)).await;
    let alone = wait_told(&first, "memberlist", "No other member is seen").await;
    assert_eq!(alone["severity"], "warning");
    wait_line(&first, &["level=warn", "needs attention: No other member"]).await;
    let listens = json!({"memberlist": {"bind_port": port.number()}});
    let _second = Distributor::start("joined", &ha_config(&sink, &listens)).await;
    wait_over(&first, "memberlist").await;
    wait_line(&first, &["level=info", "is over: No other member"]).await;
}

#[tokio::test]
async fn the_index_says_what_is_missing_in_the_configuration() {
    let sink = Sink::start().await;
    for (name, more, component, part) in [
        (
            "no-tenant",
            tracked(),
            "ha-tracker",
            "No tenant has limits.accept_ha_samples",
        ),
        (
            "no-tracker",
            json!({"limits": {"accept_ha_samples": true}}),
            "ha-tracker",
            "The HA tracker is off, although",
        ),
    ] {
        let distributor = Distributor::start(name, &common::config(&sink, &more)).await;
        let condition = wait_told(&distributor, component, part).await;
        assert_eq!(condition["severity"], "warning");
        assert_eq!(status_of(&distributor, component).await, "Needs attention");
        // In the log as well.
        wait_for("a line", LONG, || async {
            let log = distributor.process.log();
            let lines = log.lines().filter(|line| line.contains("needs attention"));
            match lines.collect::<Vec<_>>().as_slice() {
                [line] if line.contains(part) => Ok(()),
                lines => Err(format!("{lines:?}")),
            }
        })
        .await;
    }
    let distributor = Distributor::start("no-downstream", "").await;
    let condition = wait_told(&distributor, "server", "No downstream is configured").await;
    assert_eq!(condition["severity"], "critical");
    assert_eq!(status_of(&distributor, "server").await, "Failing");
}
