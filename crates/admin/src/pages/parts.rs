//! Elements of several pages.

use std::borrow::Cow;

use kv_core::visible;
use maud::{Markup, html};

/// Longest name that is shown completely, in characters: as long as DNS and Kubernetes allow. A
/// longer one is shortened in the middle, since names usually differ at their ends.
const WHOLE_NAME: usize = 96;

/// A name from outside: complete, or shortened and expandable.
pub(super) fn name(name: &str) -> Markup {
    let shown = visible(name);
    if shown.is_empty() {
        return html! { span.note { "(empty)" } };
    }
    let characters = shown.chars().count();
    if characters <= WHOLE_NAME {
        return html! { (shown) };
    }
    let half = WHOLE_NAME / 2;
    let start: String = shown.chars().take(half).collect();
    let end: String = shown.chars().skip(characters - half).collect();
    html! { details { summary title=(shown) { (start) " … " (end) } (shown) } }
}

/// A name from outside that leads somewhere. One that is shortened stays expandable, beside the link.
pub(super) fn named_link(text: &str, href: &str) -> Markup {
    let shown = visible(text);
    if shown.is_empty() {
        return html! { a href=(href) { "(empty)" } };
    }
    if shown.chars().count() <= WHOLE_NAME {
        return html! { a href=(href) { (shown) } };
    }
    html! { (name(text)) a href=(href) { "Open" } }
}

/// A table that can be scrolled in a narrow window, also by keyboard, with a name for screen
/// readers.
pub(super) fn scroll(label: &str, table: &Markup) -> Markup {
    html! { div.scroll role="region" aria-label=(label) tabindex="0" { (table) } }
}

/// A link to `path` with the parameters that are not empty.
pub(super) fn link(path: &str, parameters: &[(&str, Cow<'_, str>)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (key, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
        query.append_pair(key, value);
    }
    match query.finish() {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_whole_or_cut_where_they_do_not_differ() {
        let usual = "prometheus-kube-prometheus-stack-prometheus-0";
        assert_eq!(name(usual).into_string(), usual);
        let long = format!("start{}end", "x".repeat(1000));
        let shown = name(&long).into_string();
        assert!(shown.contains("start") && shown.contains("end</summary>"));
        assert!(shown.contains(&format!("title=\"{long}\"")), "{shown}");
        assert!(shown.contains(&format!("</summary>{long}")), "{shown}");
        let hostile = name("<b>\u{202e}\u{1b}[2J").into_string();
        assert_eq!(hostile, "&lt;b&gt;\\u{202e}\\u{1b}[2J");
    }

    #[test]
    fn links_say_what_they_have_to() {
        assert_eq!(link("/a", &[("b", "".into())]), "/a");
        assert_eq!(
            link("/a", &[("b", "".into()), ("c", "d&e".into())]),
            "/a?c=d%26e"
        );
    }
}
