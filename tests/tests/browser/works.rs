//! What people do with the pages.

use e2e::showcase::{FAILED_OVER, HANDED_OVER, Showcase, replica};
use e2e::{Browser, Tab};
use serde_json::{Value, json};

use crate::{DESKTOP, PHONE, TRACKER, assert_no_problems};

/// What has the focus: its text, and whether that can be seen.
async fn focused(tab: &Tab) -> (String, bool) {
    let focused: Value = tab
        .eval("(() => { const e = document.activeElement; const style = getComputedStyle(e); return [(e.getAttribute('aria-label') || e.name || e.textContent).trim(), style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2]; })()")
        .await;
    serde_json::from_value(focused).unwrap()
}

#[tokio::test]
async fn the_keyboard_reaches_everything_in_the_order_of_the_page() {
    let showcase = Showcase::start("keys", &json!({})).await;
    let distributor = &showcase.distributor;
    let browser = Browser::start().await;
    for look in [DESKTOP, PHONE] {
        let tab = browser.tab(look).await;
        tab.open(&distributor.url(&format!("{TRACKER}?sort=cluster")))
            .await;
        tab.press("Tab").await;
        assert_eq!(
            focused(&tab).await,
            ("Skip to the content".to_owned(), true)
        );
        let mut reached = Vec::new();
        let total = tab
            .number("[...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, [tabindex=\"0\"]')].filter((e) => e.checkVisibility()).length")
            .await;
        loop {
            tab.press("Tab").await;
            if tab.eval("document.activeElement === document.body").await == json!(true) {
                break;
            }
            let (name, is_visible) = focused(&tab).await;
            assert!(is_visible, "{name} has the focus, and it cannot be seen");
            reached.push(name);
            assert!(reached.len() as f64 <= total, "{reached:?}");
        }
        let at = |name: &str| {
            let found = reached.iter().position(|reached| reached == name);
            found.unwrap_or_else(|| panic!("{name} is not in {reached:?}"))
        };
        let order = [
            "HA distributor",
            "Index",
            "Metrics",
            "refresh-every",
            "q",
            "state",
            "Apply",
            "Clusters",
            "ap-south-1-prod",
            "web-prod",
        ];
        let order: Vec<usize> = order
            .iter()
            .filter(|name| **name != "refresh-every")
            .map(|name| at(name))
            .collect();
        assert!(order.is_sorted(), "{reached:?}");

        // The skip link leads past the navigation.
        tab.open(&distributor.url(TRACKER)).await;
        tab.press("Tab").await;
        tab.press("Enter").await;
        assert_eq!(tab.text("document.activeElement.id").await, "content");
        tab.press("Tab").await;
        assert_eq!(focused(&tab).await.0, "Why was this dropped?");
        assert_no_problems(&tab, distributor);
    }
}

#[tokio::test]
async fn a_cluster_has_its_replicas_and_the_history_of_its_elections() {
    let showcase = Showcase::start("history", &json!({})).await;
    let distributor = &showcase.distributor;
    let browser = Browser::start().await;
    let tab = browser.tab(DESKTOP).await;
    tab.open(&distributor.url(TRACKER)).await;
    let (tenant, cluster) = FAILED_OVER;
    let open = format!(
        "[...document.querySelectorAll('tbody a')].find((a) => a.textContent === '{cluster}').click()"
    );
    tab.follow(async {
        tab.eval(&open).await;
    })
    .await;
    let text = tab.text("document.querySelector('main').innerText").await;
    for part in [
        &format!("Cluster {cluster}"),
        "after 1 change of the elected replica",
        "2 replicas were seen within 15 minutes",
        "elected: stored",
        "standby: dropped",
        "of silence",
        "failover, by",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    let path = format!("{TRACKER}/cluster?tenant={tenant}&cluster={cluster}");
    let page = distributor.get_json(&path).await.unwrap();
    let record = &page["history"][0];
    assert_eq!(record["predecessor"], replica(cluster, 0).as_str());
    assert_eq!(record["replica"], replica(cluster, 1).as_str());
    let silence = record["silenceMs"].as_i64().unwrap();
    let gap = record["gapMs"].as_i64().unwrap();
    assert!(silence >= 3_000 && gap >= silence, "{record}");
    assert_eq!(page["replicasSeen"], 2, "{page}");
    for sample in [
        &page["cluster"]["newestSample"],
        &page["cluster"]["otherReplicas"][0]["newestSample"],
    ] {
        humantime::parse_rfc3339(sample.as_str().unwrap()).unwrap();
    }

    // All elections are on one page, the latest first.
    let elections = distributor
        .get_json(&format!("{TRACKER}/elections"))
        .await
        .unwrap();
    let elections = elections["elections"].as_array().unwrap().clone();
    let of = |cluster: &str| {
        let found = elections
            .iter()
            .find(|election| election["cluster"] == cluster);
        found.unwrap_or_else(|| panic!("{cluster} is not in {elections:?}"))["cause"].clone()
    };
    assert_eq!(of(HANDED_OVER.1), "by_hand");
    let cause = of(cluster);
    assert!(cause == "poll" || cause == "arrival", "{cause}");
    let metrics = distributor.metrics().await.unwrap();
    let kept = metrics.sum("cortex_ha_tracker_election_history_entries", &[]);
    assert_eq!(kept, elections.len() as f64);
    assert_no_problems(&tab, distributor);
}

#[tokio::test]
async fn why_a_sample_is_dropped_is_answered_in_sentences() {
    let showcase = Showcase::start("why", &json!({})).await;
    let distributor = &showcase.distributor;
    let browser = Browser::start().await;
    let tab = browser.tab(PHONE).await;
    tab.open(&distributor.url("/distributor/ha_tracker/why"))
        .await;
    let (tenant, cluster) = FAILED_OVER;
    let standby = replica(cluster, 0);
    for (name, value) in [
        ("tenant", tenant),
        ("cluster", cluster),
        ("replica", &standby),
    ] {
        tab.eval(&format!(
            "document.querySelector('input[name={name}]').focus()"
        ))
        .await;
        tab.type_text(value).await;
    }
    tab.follow(tab.press("Enter")).await;
    let text = tab.text("document.querySelector('main').innerText").await;
    let elected = replica(cluster, 1);
    for part in [
        "acknowledged and dropped (202)",
        &format!("because \"{elected}\" is elected"),
        "is seen by this distributor",
        "What to do",
        "hand the election over",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    // An unknown name leads to similar ones.
    let path = format!("/distributor/ha_tracker/why?tenant={tenant}&cluster=eu-west-1&replica=x");
    tab.open(&distributor.url(&path)).await;
    let text = tab.text("document.querySelector('main').innerText").await;
    for part in [
        "does not know this cluster",
        "eu-west-1-prod",
        "__replica__",
        "X-Scope-OrgID",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    let answer = distributor.get_json(&path).await.unwrap();
    assert_eq!(answer["sample"], "stored", "{answer}");
    assert!(!answer["advice"].as_array().unwrap().is_empty(), "{answer}");
    assert_no_problems(&tab, distributor);
}

#[tokio::test]
async fn an_election_is_handed_over_with_the_keyboard() {
    let showcase = Showcase::start("handed", &json!({})).await;
    let distributor = &showcase.distributor;
    let browser = Browser::start().await;
    let tab = browser.tab(DESKTOP).await;
    let cluster = ("payments", "ledger");
    showcase.wait_elected(cluster, 0).await;
    showcase.wait_state(cluster, "fine").await;
    let path = format!(
        "{TRACKER}/cluster?tenant={}&cluster={}",
        cluster.0, cluster.1
    );
    tab.open(&distributor.url(&path)).await;
    tab.eval("document.querySelector('td button').focus()")
        .await;
    tab.follow(tab.press("Enter")).await;
    let question = tab.text("document.querySelector('main p').innerText").await;
    assert!(
        question.contains("Elect replica prometheus-ledger-1"),
        "{question}"
    );
    tab.eval("document.querySelector('main form button').focus()")
        .await;
    tab.follow(tab.press(" ")).await;
    showcase.wait_elected(cluster, 1).await;
    let address = tab.text("location.pathname + location.search").await;
    assert_eq!(address, format!("{TRACKER}?tenant=payments&cluster=ledger"));
    assert_no_problems(&tab, distributor);
}
