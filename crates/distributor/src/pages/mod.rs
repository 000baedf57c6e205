//! Pages: HTML for people, JSON for `Accept: application/json`.

pub(crate) mod configuration;
pub(crate) mod ha_tracker;
pub(crate) mod index;
pub(crate) mod memberlist;
pub(crate) mod multi_kv;
pub(crate) mod status;
mod times;

use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --accent: #2563eb; --bad: #c2410c; }
@media (prefers-color-scheme: dark) { :root { --accent: #7aa7ff; --bad: #fb923c; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 75rem; padding: 0 1.2rem 3rem; }
header { display: flex; gap: 1.5rem; align-items: baseline; flex-wrap: wrap; border-bottom: 1px solid var(--line); padding: .9rem 0 .6rem; }
header b { font-size: 1.05rem; } header nav { display: flex; gap: 1rem; flex-wrap: wrap; }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
h1 { font-size: 1.4rem; margin: 1.2rem 0 .4rem; } h2 { font-size: 1.1rem; margin: 1.4rem 0 .2rem; } h3 { font-size: 1rem; margin: 1rem 0 .2rem; } p.note { opacity: .75; margin: .3rem 0 1rem; }
p.warn { border-left: 4px solid var(--bad); background: var(--soft); padding: .6rem .9rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; white-space: nowrap; } td.num { font-variant-numeric: tabular-nums; white-space: nowrap; }
td.name { white-space: nowrap; max-width: 22rem; overflow: hidden; text-overflow: ellipsis; }
td.bad { color: var(--bad); } code, pre { font: 13px/1.5 ui-monospace, monospace; }
pre { background: var(--soft); padding: .9rem; overflow-x: auto; border-radius: 6px; }
form { display: flex; gap: .6rem; flex-wrap: wrap; margin: .6rem 0 1rem; } input { font: inherit; padding: .2rem .5rem; }
";

/// A whole page around `content`.
pub(crate) fn layout(title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · HA distributor" }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                header {
                    b { "HA distributor" }
                    nav {
                        a href="/" { "Index" }
                        a href="/distributor/ha_tracker" { "HA tracker" }
                        a href="/memberlist" { "Memberlist" }
                        a href="/distributor/multi_kv" { "Multi KV" }
                        a href="/services" { "Services" }
                        a href="/config" { "Configuration" }
                        a href="/metrics" { "Metrics" }
                    }
                }
                main {
                    h1 { (title) }
                    (content)
                }
            }
        }
    }
}

/// Whether the client asks for JSON.
pub(crate) fn wants_json(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|accept| accept.to_str().ok())
        .any(|accept| accept.contains("application/json"))
}

/// An answer with this content type.
pub(crate) fn typed(content_type: &'static str, body: String) -> Response {
    let mut response = body.into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A JSON answer.
pub(crate) fn json(value: &serde_json::Value) -> Response {
    typed("application/json", value.to_string())
}

/// A whole HTML page.
pub(crate) fn page(title: &str, content: &Markup) -> Response {
    typed(
        "text/html; charset=utf-8",
        layout(title, content).into_string(),
    )
}
