//! Runtime configurations that cannot be.

use e2e::{Distributor, SHORT, Sink, Version, wait_for};
use serde_json::{Value, json};

use crate::common::{assert_stored, ha_config, ha_series, metrics};

async fn page(distributor: &Distributor) -> Value {
    let page = distributor.get_json("/distributor/multi_kv").await;
    page.unwrap()
}

/// Waits until the page says this about a refusal, and returns it.
async fn wait_refused(distributor: &Distributor, is_refused: bool) -> Value {
    wait_for(&format!("refused: {is_refused}"), SHORT, || async {
        let page = page(distributor).await;
        match page["refused"].is_string() == is_refused {
            true => Ok(page),
            false => Err(page.to_string()),
        }
    })
    .await
}

async fn stores_a_sample(distributor: &Distributor, cluster: &str) {
    let series = ha_series("m", cluster, "r0");
    let answer = distributor.sender("t").send(Version::V1, &[series]).await;
    assert_stored(&answer, Version::V1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_there_is_refused_and_nothing_changes() {
    let sink = Sink::start().await;
    let config = ha_config(
        &sink,
        &json!({
            "distributor": {"ha_tracker": {"kvstore": {
                "store": "multi",
                "multi": {"primary": "inmemory", "secondary": "memberlist", "mirror_enabled": true},
            }}},
            "runtime_config": {"file": "runtime.yaml", "period": "200ms"},
        }),
    );
    let mut distributor = Distributor::launch("d", &config);
    // Its file comes later than it does; without one it does not start.
    let write = |distributor: &Distributor, multi: Value| {
        let text = json!({ "multi_kv_config": multi }).to_string();
        distributor.write_file("runtime.yaml", &text);
    };
    write(&distributor, json!({}));
    distributor.restart().await;
    stores_a_sample(&distributor, "c0").await;
    assert_eq!(page(&distributor).await["refused"], Value::Null);

    for wrong in ["consul", "nonsense", "multi"] {
        write(
            &distributor,
            json!({"primary": wrong, "mirror_enabled": false}),
        );
        let page = wait_for("the page to tell of it", SHORT, || async {
            let page = page(&distributor).await;
            let refused = page["refused"].as_str().unwrap_or_default();
            match refused.contains(wrong) {
                true => Ok(page),
                false => Err(page.to_string()),
            }
        })
        .await;
        // Neither half of it is in effect.
        assert_eq!(page["primary"], "inmemory", "{page}");
        assert_eq!(page["mirror_enabled"], true, "{page}");
        assert_eq!(page["override"]["primary"], wrong, "{page}");
        let metrics = metrics(&distributor).await;
        let primary = |store| metrics.get("cortex_multikv_primary_store", &[("store", store)]);
        assert_eq!(primary("inmemory"), Some(1.0));
        assert_eq!(primary("memberlist"), Some(0.0));
        stores_a_sample(&distributor, wrong).await;
        let log = distributor.process.log();
        let line = log.lines().find(|line| {
            line.contains("level=error") && line.contains("refused") && line.contains(wrong)
        });
        assert!(line.is_some(), "{log}");
    }
    let index = distributor.get("/").await.unwrap().body;
    assert!(index.contains("multi_kv_config is refused"), "{index}");

    write(&distributor, json!({"primary": "memberlist"}));
    let page = wait_refused(&distributor, false).await;
    assert_eq!(page["primary"], "memberlist", "{page}");
    stores_a_sample(&distributor, "c0").await;
    // A distributor that starts with such a file does not: it might be on another step than the rest.
    write(&distributor, json!({"primary": "consul"}));
    wait_refused(&distributor, true).await;
    distributor.process.restart();
    let status = distributor.process.wait_exit(SHORT).await;
    assert_eq!(status.code(), Some(1), "{status}");
    let log = distributor.process.log();
    assert!(
        log.contains("multi_kv_config") && log.contains("correct it"),
        "{log}"
    );
    write(&distributor, json!({"primary": "memberlist"}));
    distributor.restart().await;
    assert_eq!(self::page(&distributor).await["primary"], "memberlist");

    // What it has taken back is as configured.
    write(&distributor, json!({}));
    wait_for("the configured primary", SHORT, || async {
        let page = self::page(&distributor).await;
        match page["primary"] == "inmemory" && page["override"]["primary"].is_null() {
            true => Ok(()),
            false => Err(page.to_string()),
        }
    })
    .await;
}
