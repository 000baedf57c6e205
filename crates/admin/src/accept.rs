//! What a client accepts: `Accept` and `Accept-Encoding`, with their weights.

use axum::http::header::{ACCEPT, ACCEPT_ENCODING};
use axum::http::{HeaderMap, HeaderName};

/// The weight of an entry, in thousandths: 0 = not acceptable, 1000 = preferred.
type Weight = u16;

/// Whether the answer should be compressed with gzip.
pub(crate) fn takes_gzip(headers: &HeaderMap) -> bool {
    let gzip = weight(headers, &ACCEPT_ENCODING, &["gzip", "x-gzip", "*"]);
    let identity = weight(headers, &ACCEPT_ENCODING, &["identity"]);
    gzip.is_some_and(|gzip| gzip > 0 && gzip >= identity.unwrap_or(0))
}

/// Whether the client prefers JSON to an HTML page.
pub(crate) fn wants_json(headers: &HeaderMap) -> bool {
    let json = weight(headers, &ACCEPT, &["application/json"]).unwrap_or(0);
    json > 0 && json >= html(headers)
}

/// Whether the client is a browser: it accepts HTML explicitly.
pub(crate) fn wants_html(headers: &HeaderMap) -> bool {
    html(headers) > 0 && !wants_json(headers)
}

/// Whether the client prefers OpenMetrics 1.0 to the text format. With equal weights, the first one
/// counts.
pub(crate) fn wants_openmetrics(headers: &HeaderMap) -> bool {
    let wishes = entries(headers, &ACCEPT).filter_map(|entry| {
        let version = parameter(entry, "version");
        let is_openmetrics = is_named(entry, "application/openmetrics-text")
            && matches!(version, None | Some("1.0.0" | "0.0.1"));
        let is_other = is_named(entry, "text/plain") || is_named(entry, "text/html");
        (is_openmetrics || is_other).then(|| (weight_of(entry), is_openmetrics))
    });
    let first_of_best = wishes.reduce(|best, next| if next.0 > best.0 { next } else { best });
    first_of_best.is_some_and(|(weight, is_openmetrics)| is_openmetrics && weight > 0)
}

fn html(headers: &HeaderMap) -> Weight {
    weight(headers, &ACCEPT, &["text/html"]).unwrap_or(0)
}

/// The weight of the first of `names` that the header lists; of several entries of one name (its
/// versions), the largest.
fn weight(headers: &HeaderMap, header: &HeaderName, names: &[&str]) -> Option<Weight> {
    names.iter().find_map(|name| {
        entries(headers, header)
            .filter(|entry| is_named(entry, name))
            .map(weight_of)
            .max()
    })
}

/// The entries of the header.
fn entries<'a>(headers: &'a HeaderMap, header: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(header)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
}

fn is_named(entry: &str, name: &str) -> bool {
    let named = entry.split(';').next().unwrap_or_default();
    named.trim().eq_ignore_ascii_case(name)
}

fn weight_of(entry: &str) -> Weight {
    let q = parameter(entry, "q").map(|value| value.parse::<f32>().unwrap_or(0.0));
    // An invalid weight counts as 0.
    (q.unwrap_or(1.0).clamp(0.0, 1.0) * 1000.0) as Weight
}

fn parameter<'a>(entry: &'a str, name: &str) -> Option<&'a str> {
    entry.split(';').skip(1).find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim()
            .eq_ignore_ascii_case(name)
            .then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(header: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn gzip_is_used_where_it_is_taken() {
        for (value, expected) in [
            ("gzip", true),
            ("GZIP", true),
            ("gzip, deflate, br, zstd", true),
            ("br;q=1.0, gzip;q=0.8, *;q=0.1", true),
            ("*", true),
            ("gzip;q=0, *", false),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("identity", false),
            ("identity;q=1, gzip;q=0.5", false),
            ("gzip;q=nonsense", false),
            ("gzip;q=NaN", false),
            ("", false),
        ] {
            assert_eq!(
                takes_gzip(&with(ACCEPT_ENCODING, value)),
                expected,
                "{value}"
            );
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn programs_get_what_they_ask_for_and_people_what_they_can_read() {
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,\
             application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let chrome = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,\
             image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7";
        for (value, openmetrics, json, html) in [
            (prometheus_2, true, false, false),
            (prometheus_3, true, false, false),
            (
                "text/plain;version=0.0.4,application/openmetrics-text;q=0.1",
                false,
                false,
                false,
            ),
            ("application/openmetrics-text;q=0", false, false, false),
            // Equal weights.
            (
                "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4",
                true,
                false,
                false,
            ),
            (
                "text/plain;version=0.0.4, application/openmetrics-text; version=\"1.0.0\"",
                false,
                false,
                false,
            ),
            ("application/openmetrics-text", true, false, false),
            (
                "application/openmetrics-text;version=2.0.0,text/plain;version=0.0.4;q=0.5",
                false,
                false,
                false,
            ),
            (
                "application/openmetrics-text;version=2.0.0,application/openmetrics-text;\
                 version=1.0.0;q=0.7,text/plain;q=0.5",
                true,
                false,
                false,
            ),
            (chrome, false, false, true),
            ("*/*", false, false, false),
            ("application/json", false, true, false),
            ("text/html, application/json;q=0.9", false, false, true),
            ("application/json, text/plain, */*", false, true, false),
        ] {
            let headers = with(ACCEPT, value);
            assert_eq!(wants_openmetrics(&headers), openmetrics, "{value}");
            assert_eq!(wants_json(&headers), json, "{value}");
            assert_eq!(wants_html(&headers), html, "{value}");
        }
    }
}
