//! The frame of all pages.

use axum::response::Response;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::answer::{HTML, typed};
use crate::routes;

const STYLE: &str = include_str!("style.css");

/// An eye-catching square: the elected one of two.
pub(super) const ICON: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#2563eb"/><circle cx="11" cy="12" r="5.5" fill="#fff"/><circle cx="22" cy="21" r="4.2" fill="none" stroke="#fff" stroke-width="2" opacity=".75"/></svg>"##;

/// A whole page around `content`.
pub(super) fn layout(title: &str, content: &Markup) -> Markup {
    let icon: String = url::form_urlencoded::byte_serialize(ICON.as_bytes()).collect();
    // That encoding has its own sign for spaces.
    let icon = format!("data:image/svg+xml,{}", icon.replace('+', "%20"));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · HA distributor" }
                link rel="icon" href=(icon);
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                header {
                    b { "HA distributor" }
                    nav aria-label="Pages" {
                        @for route in routes::navigation() {
                            a href=(route.path) aria-current=[(route.title == title).then_some("page")] { (route.title) }
                        }
                    }
                }
                main #content {
                    h1 { (title) }
                    (content)
                }
            }
        }
    }
}

/// The same as an answer.
pub(super) fn html_page(title: &str, content: &Markup) -> Response {
    typed(HTML, layout(title, content).into_string())
}
