//! Every page at both sizes, in light and dark.

use e2e::showcase::{FAILED_OVER, SILENT, Showcase, replica};
use e2e::{Browser, Look, Tab};
use serde_json::json;

use crate::{DESKTOP, PHONE, assert_no_problems};

/// The lowest contrast of text with what is behind it, and where that is.
const CONTRAST: &str = r#"(() => {
  const parse = (color) => { const parts = color.match(/[\d.]+/g).map(Number); return [parts[0], parts[1], parts[2], parts[3] === undefined ? 1 : parts[3]]; };
  const luminance = ([r, g, b]) => [r, g, b].map((c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; }).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => { for (let at = element; at; at = at.parentElement) { const color = parse(getComputedStyle(at).backgroundColor); if (color[3] === 1) return color; } return [255, 255, 255, 1]; };
  let worst = { ratio: 99, where: "" };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    const element = text.parentElement;
    if (!text.nodeValue.trim() || ["SCRIPT", "STYLE", "OPTION"].includes(element.nodeName) || !element.checkVisibility()) continue;
    const [a, b] = [luminance(parse(getComputedStyle(element).color)), luminance(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst.ratio) worst = { ratio, where: element.outerHTML.slice(0, 200) };
  }
  return JSON.stringify(worst);
})()"#;

/// What is wrong with how the page can be used without eyes or a mouse.
const ACCESS: &str = r#"(() => {
  const wrong = [];
  const named = (element) => (element.getAttribute("aria-label") || element.textContent || "").trim() !== "";
  if (document.querySelectorAll("h1").length !== 1) wrong.push("not one h1");
  if (document.querySelectorAll("main").length !== 1) wrong.push("not one main");
  for (const link of document.querySelectorAll("a[href], button")) if (!named(link)) wrong.push("without a name: " + link.outerHTML);
  for (const input of document.querySelectorAll("input:not([type=hidden]), select")) if (input.labels.length === 0) wrong.push("without a label: " + input.outerHTML);
  for (const table of document.querySelectorAll("table")) {
    if (!table.caption) wrong.push("without a caption: " + table.outerHTML.slice(0, 100));
    for (const heading of table.querySelectorAll("th")) if (!heading.scope) wrong.push("without a scope: " + heading.outerHTML);
  }
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  if (new Set(ids).size !== ids.length) wrong.push("ids are not unique: " + ids);
  let level = 0;
  for (const heading of document.querySelectorAll("h1, h2, h3")) { const next = Number(heading.nodeName[1]); if (next > level + 1) wrong.push("a level is skipped: " + heading.textContent); level = next; }
  if (document.querySelector("[onclick], [style]")) wrong.push("inline handlers or styles");
  return wrong;
})()"#;

#[tokio::test]
async fn every_page_is_readable_at_both_sizes_in_light_and_dark() {
    let showcase = Showcase::start("readable", &json!({})).await;
    let distributor = &showcase.distributor;
    let browser = Browser::start().await;
    let tab = browser.tab(DESKTOP).await;
    let (tenant, cluster) = FAILED_OVER;
    let named = format!("tenant={tenant}&cluster={cluster}");
    let standby = replica(cluster, 0);
    let pages = [
        "/".to_owned(),
        "/distributor/ha_tracker".to_owned(),
        "/distributor/ha_tracker?q=prod&state=fine&rows=50&sort=elections&order=asc".to_owned(),
        format!("/distributor/ha_tracker/cluster?{named}"),
        "/distributor/ha_tracker/elections".to_owned(),
        "/distributor/ha_tracker/why".to_owned(),
        format!("/distributor/ha_tracker/why?{named}&replica={standby}"),
        format!("/distributor/ha_tracker/handover?{named}&replica={standby}"),
        "/memberlist".to_owned(),
        format!("/memberlist?viewKey=ha-tracker/{tenant}/{cluster}"),
        "/distributor/multi_kv".to_owned(),
        "/services".to_owned(),
        "/config".to_owned(),
        "/config?mode=diff".to_owned(),
        "/runtime_config".to_owned(),
    ];
    for path in &pages {
        tab.open(&distributor.url(path)).await;
        for look in [DESKTOP, PHONE] {
            for is_dark in [false, true] {
                let look = Look { is_dark, ..look };
                tab.show(look).await;
                check(&tab, path, look).await;
            }
        }
        let wrong = tab.eval(ACCESS).await;
        assert_eq!(wrong, json!([]), "{path}");
    }
    assert_no_problems(&tab, distributor);
    assert!(tab.text("document.title").await.contains("HA distributor"));
    // The silent one is first.
    tab.open(&distributor.url("/distributor/ha_tracker")).await;
    let first = tab
        .text("document.querySelector('tbody tr').textContent")
        .await;
    assert!(
        first.contains("Silent") && first.contains(SILENT.1),
        "{first}"
    );
}

async fn check(tab: &Tab, path: &str, look: Look) {
    let overflow = tab
        .number("document.documentElement.scrollWidth - innerWidth")
        .await;
    assert!(overflow <= 0.0, "{path} {look:?}: {overflow} px too wide");
    let background = tab
        .text("getComputedStyle(document.body).backgroundColor")
        .await;
    let is_dark = background != "rgb(255, 255, 255)";
    assert_eq!(is_dark, look.is_dark, "{path}: {background}");
    let worst: serde_json::Value = serde_json::from_str(&tab.text(CONTRAST).await).unwrap();
    let ratio = worst["ratio"].as_f64().unwrap();
    // WCAG 2, level AA.
    assert!(ratio >= 4.5, "{path} {look:?}: {worst}");
}
