//! Tables of any size: sorted, filtered and cut into pages by the server, and refreshed in place.

use std::time::Duration;

use e2e::showcase::{Showcase, add_clusters};
use e2e::{Browser, Distributor, LONG, Sink, Tab, wait_for};
use serde_json::json;

use crate::common::per_sample_config;
use crate::{DESKTOP, TRACKER, assert_no_problems};

/// Clusters of the large test; `CLUSTERS=100000` in the environment has it use more.
const MANY: usize = 10_000;

/// The names of the clusters on the page, in order.
async fn clusters(tab: &Tab) -> Vec<String> {
    let names = tab
        .eval("[...document.querySelectorAll('tbody [data-name=Cluster]')].map((cell) => cell.textContent)")
        .await;
    serde_json::from_value(names).unwrap()
}

/// Clicks on what the selector finds, and waits for the page to which it leads.
async fn click(tab: &Tab, selector: &str) {
    let click = format!("document.querySelector({selector:?}).click()");
    tab.follow(async {
        tab.eval(&click).await;
    })
    .await;
}

#[tokio::test]
async fn clusters_are_sorted_filtered_and_cut_into_pages() {
    let showcase = Showcase::start("sorted", &json!({})).await;
    let distributor = &showcase.distributor;
    let browser = Browser::start().await;
    let tab = browser.tab(DESKTOP).await;
    tab.open(&distributor.url(TRACKER)).await;

    // A click on a heading sorts, the next one reverses.
    let by_cluster = "thead a[href*='sort=cluster']";
    click(&tab, by_cluster).await;
    let up = clusters(&tab).await;
    let mut sorted = up.clone();
    sorted.sort();
    assert_eq!(up, sorted);
    let aria = "document.querySelector('th[aria-sort]').textContent + ' ' + document.querySelector('th[aria-sort]').ariaSort";
    assert_eq!(tab.text(aria).await, "Cluster ascending");
    click(&tab, by_cluster).await;
    let mut down = clusters(&tab).await;
    assert_eq!(tab.text(aria).await, "Cluster descending");
    down.reverse();
    assert_eq!(down, sorted);

    // A choice applies at once, and keeps the order.
    tab.follow(async {
        tab.eval("{ const state = document.querySelector('select[name=state]'); state.value = 'silent'; state.dispatchEvent(new Event('change')); }")
            .await;
    })
    .await;
    assert_eq!(clusters(&tab).await, ["web-old"]);
    let address = tab.text("location.search").await;
    assert!(
        address.contains("state=silent") && address.contains("sort=cluster"),
        "{address}"
    );

    // Text is searched for by Enter, in any case.
    tab.open(&distributor.url(TRACKER)).await;
    tab.eval("document.querySelector('input[name=q]').focus()")
        .await;
    tab.type_text("LEDGER").await;
    tab.follow(tab.press("Enter")).await;
    assert_eq!(clusters(&tab).await, ["ledger"]);
    assert_eq!(
        tab.text("document.querySelector('input[name=q]').value")
            .await,
        "LEDGER"
    );

    // Pages.
    tab.open(&distributor.url(&format!("{TRACKER}?sort=cluster&rows=4")))
        .await;
    let mut all = clusters(&tab).await;
    assert_eq!(all.len(), 4);
    for _ in 0..2 {
        click(&tab, "a[rel=next]").await;
        all.extend(clusters(&tab).await);
    }
    assert_eq!(all, sorted);
    assert_no_problems(&tab, distributor);
}

#[tokio::test]
async fn tables_work_without_scripts() {
    let showcase = Showcase::start("plain", &json!({})).await;
    let distributor = &showcase.distributor;
    let browser = Browser::start().await;
    let tab = browser.tab(DESKTOP).await;
    tab.disable_scripts().await;
    tab.open(&distributor.url(TRACKER)).await;
    let is_hidden = "document.getElementById('refresh').checkVisibility()";
    assert_eq!(tab.eval(is_hidden).await, json!(false));
    click(&tab, "thead a[href*='sort=cluster']").await;
    assert_eq!(clusters(&tab).await[0], "ap-south-1-prod");
    tab.eval("document.querySelector('select[name=state]').value = 'silent'")
        .await;
    click(&tab, "form[role=search] button").await;
    assert_eq!(clusters(&tab).await, ["web-old"]);
    assert_no_problems(&tab, distributor);
}

#[tokio::test]
async fn a_refresh_keeps_focus_scroll_text_and_details() {
    let sink = Sink::start().await;
    let more = json!({"limits": {"ha_max_clusters": 0}});
    let distributor = Distributor::start("refreshed", &per_sample_config(&sink, &more)).await;
    add_clusters(&distributor, 90).await;
    let browser = Browser::start().await;
    let tab = browser.tab(DESKTOP).await;
    let page = format!("{TRACKER}?sort=cluster&order=desc&rows=200");
    tab.open(&distributor.url(&page)).await;
    tab.eval("document.getElementById('refresh-every').value = '0'; document.getElementById('refresh-every').dispatchEvent(new Event('change'))")
        .await;
    // In the middle of the page, the user is at a link; and has typed something.
    tab.eval("document.querySelector('input[name=q]').value = 'half-typed'")
        .await;
    tab.eval("{ window.link = [...document.querySelectorAll('tbody a')].find((a) => a.textContent === 'cluster-000050'); link.focus(); link.scrollIntoView({block: 'center'}); window.row = link.closest('tr'); }")
        .await;
    let top = "Math.round(document.activeElement.getBoundingClientRect().top)";
    let before = tab.number(top).await;
    assert!(tab.number("scrollY").await > 500.0);

    // Rows are added above it.
    for number in 100..130 {
        let names = [0, 1].map(|replica| {
            let replica = format!("r{replica}");
            crate::common::ha_series("m", &format!("cluster-{number:06}"), &replica)
        });
        let answer = distributor
            .sender("many")
            .send(e2e::Version::V1, &names)
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    refresh(&tab).await;
    let shown = clusters(&tab).await;
    assert_eq!((shown.len(), shown[0].as_str()), (120, "cluster-000129"));
    assert_eq!(
        tab.eval("document.activeElement === link").await,
        json!(true)
    );
    assert_eq!(tab.eval("row.isConnected").await, json!(true));
    let after = tab.number(top).await;
    assert!((after - before).abs() <= 1.0, "{before} {after}");
    assert_eq!(
        tab.text("document.querySelector('input[name=q]').value")
            .await,
        "half-typed"
    );
    let told = "document.getElementById('refresh-told').textContent";
    assert!(tab.text(told).await.starts_with("Updated "));

    // By itself as well, and it says when it cannot.
    tab.eval("document.getElementById('refresh-every').value = '5'; document.getElementById('refresh-every').dispatchEvent(new Event('change'))")
        .await;
    let mut distributor = distributor;
    distributor.process.sigkill();
    tab.wait_until(
        "document.getElementById('refresh-told').textContent === 'Not refreshed: no answer'",
    )
    .await;
    assert_eq!(clusters(&tab).await.len(), 120);
    distributor.restart().await;
    tab.wait_until("document.getElementById('refresh-told').textContent.startsWith('Updated ')")
        .await;
}

/// Refreshes the page with the button, and waits until that is done.
async fn refresh(tab: &Tab) {
    tab.eval("document.getElementById('refresh-shown').textContent = ''; document.getElementById('refresh-now').click()")
        .await;
    tab.wait_until("document.getElementById('refresh-shown').textContent !== ''")
        .await;
}

#[tokio::test]
async fn ten_thousand_clusters_freeze_neither_browser_nor_distributor() {
    let sink = Sink::start().await;
    let more = json!({"limits": {"ha_max_clusters": 0}});
    let distributor = Distributor::start("many", &per_sample_config(&sink, &more)).await;
    let clusters = std::env::var("CLUSTERS").ok();
    let clusters = clusters.map_or(MANY, |clusters| clusters.parse().unwrap());
    add_clusters(&distributor, clusters).await;
    wait_for("all clusters", LONG, || async {
        let page = distributor
            .get_json(&format!("{TRACKER}?q=cluster-0099"))
            .await?;
        match page["elected"].as_array().map(Vec::len) {
            Some(100) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let browser = Browser::start().await;
    let tab = browser.tab(DESKTOP).await;
    let mut report = Vec::new();
    for path in [
        TRACKER,
        "/distributor/ha_tracker?rows=500&sort=replica&order=desc",
        "/distributor/ha_tracker?q=cluster-009999",
        "/memberlist?rows=500",
    ] {
        tab.open(&distributor.url(path)).await;
        let timing = "(() => { const t = performance.getEntriesByType('navigation')[0]; return t.domInteractive; })()";
        let interactive = tab.number(timing).await;
        let bytes = tab
            .number("performance.getEntriesByType('navigation')[0].decodedBodySize")
            .await;
        let rows = tab
            .number("document.querySelectorAll('tbody tr').length")
            .await;
        // No part of the page is so large that it could freeze.
        assert!(
            rows <= 510.0 && bytes < 2e6,
            "{path}: {rows} rows, {bytes} bytes"
        );
        report.push(format!(
            "{path}: {interactive:.0} ms until interactive, {rows} rows, {bytes} bytes"
        ));
    }
    println!("{}", report.join("\n"));
    // Refreshing blocks the browser for no longer than an eye notices, with much room.
    tab.open(&distributor.url(&format!("{TRACKER}?rows=500")))
        .await;
    tab.eval("window.blocked = 0; new PerformanceObserver((list) => { for (const task of list.getEntries()) blocked = Math.max(blocked, task.duration); }).observe({entryTypes: ['longtask']})")
        .await;
    refresh(&tab).await;
    let blocked = tab.number("blocked").await;
    println!("a refresh of 500 rows blocks the browser for {blocked:.0} ms at a time");
    assert!(blocked < Duration::from_secs(5).as_millis() as f64);
    // Pushes go on meanwhile.
    let answer = distributor
        .sender("many")
        .send(
            e2e::Version::V1,
            &[crate::common::ha_series(
                "m",
                "cluster-000001",
                "prometheus-cluster-000001-0",
            )],
        )
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_no_problems(&tab, &distributor);
}
