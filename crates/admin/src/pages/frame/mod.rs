//! The frame of all pages: head, navigation, style and script, and the headers that allow for nothing
//! else.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use crate::answer::{HTML, typed};
use crate::routes;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("pages.js");

/// An eye-catching square: the elected one of two.
pub(super) const ICON: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#2563eb"/><circle cx="11" cy="12" r="5.5" fill="#fff"/><circle cx="22" cy="21" r="4.2" fill="none" stroke="#fff" stroke-width="2" opacity=".75"/></svg>"##;

/// How often a page can refresh itself, s; the first is the default. 0 = never.
const REFRESH: [(u32, &str); 5] = [
    (10, "every 10 s"),
    (0, "never"),
    (5, "every 5 s"),
    (30, "every 30 s"),
    (60, "every minute"),
];

/// A whole page around `content`; its title is its heading.
pub(super) fn layout(title: &str, content: &Markup) -> Markup {
    layout_titled(title, title, content)
}

/// A whole page with a heading of its own, below the entry `place` of the navigation.
pub(super) fn layout_titled(place: &str, title: &str, content: &Markup) -> Markup {
    let icon: String = url::form_urlencoded::byte_serialize(ICON.as_bytes()).collect();
    // That encoding has its own sign for spaces.
    let icon = format!("data:image/svg+xml,{}", icon.replace('+', "%20"));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · HA distributor" }
                link rel="icon" href=(icon);
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                header { div.bar {
                    a.brand href="/" { span aria-hidden="true" { (PreEscaped(ICON)) } "HA distributor" }
                    (refresh())
                    nav aria-label="Pages" {
                        @for route in routes::navigation() {
                            a href=(route.path) aria-current=[(route.title == place).then_some("page")] { (route.title) }
                        }
                    }
                } }
                main #content tabindex="-1" {
                    h1 { (title) }
                    (content)
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// The controls of the refresh, which the script shows.
fn refresh() -> Markup {
    html! {
        div.refresh #refresh hidden {
            span #refresh-shown {}
            label { span.word { "Refresh" } select #refresh-every autocomplete="off" {
                @for (seconds, title) in REFRESH { option value=(seconds) { (title) } }
            } }
            button #refresh-now type="button" { "Now" span.unseen { " refresh this page" } }
            span.unseen #refresh-told role="status" aria-live="polite" {}
        }
    }
}

/// Keeps a page from refreshing itself: what it says is said once.
pub(super) fn once() -> Markup {
    html! { span hidden data-once {} }
}

/// The same as an answer.
pub(super) fn html_page(title: &str, content: &Markup) -> Response {
    typed(HTML, layout(title, content).into_string())
}

/// The headers of pages: only their own style and script run, they fetch only from this server, and no
/// other site can frame them.
#[derive(Clone)]
pub(crate) struct Security([(HeaderName, HeaderValue); 4]);

impl Security {
    pub(crate) fn new() -> Self {
        let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src 'self' data:; \
             connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            hash(STYLE),
            hash(SCRIPT)
        );
        // It is plain text.
        let policy = HeaderValue::try_from(policy);
        let policy = policy.unwrap_or(HeaderValue::from_static("default-src 'none'"));
        Self([
            (CONTENT_SECURITY_POLICY, policy),
            (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
            // Addresses of pages have names of tenants and clusters.
            (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
            (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ])
    }

    /// Adds the headers to an answer that is a page; to any answer, that it is what its type says.
    pub(crate) fn add(&self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        let is_html = headers
            .get(CONTENT_TYPE)
            .is_some_and(|content_type| content_type.as_bytes().starts_with(b"text/html"));
        if is_html {
            for (name, value) in &self.0 {
                headers.insert(name, value.clone());
            }
        }
        let nosniff = HeaderValue::from_static("nosniff");
        headers.insert(X_CONTENT_TYPE_OPTIONS, nosniff);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_may_run_their_own_script_and_no_other() {
        let security = Security::new();
        let page = security.add(html_page("Title", &html! { p { "text" } }));
        let header = |name: &str| page.headers()[name].to_str().unwrap();
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"));
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("x-frame-options"), "DENY");
        let text = security.add(crate::answer::text(axum::http::StatusCode::OK, "ready"));
        assert!(!text.headers().contains_key("content-security-policy"));
    }

    #[test]
    fn style_and_script_can_stand_in_a_page() {
        // They end where the browser thinks that they end.
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</"));
        // Nothing from elsewhere.
        for asset in [STYLE, SCRIPT] {
            assert!(
                !asset.contains("http:") && !asset.contains("https:") && !asset.contains("url(")
            );
        }
    }
}
