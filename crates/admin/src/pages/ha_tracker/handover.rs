//! `/distributor/ha_tracker/handover`: hands an election over by hand. GET asks for confirmation, POST
//! does it. Pages work without a script, so the confirmation is a page of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::header::{HOST, LOCATION, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use ha_tracker::{Clock, HaTracker, HandOverError, HandedOver};
use kv_core::visible;
use maud::{Markup, html};
use serde::Deserialize;

use super::query::Wanted;
use super::replica::is_plain;
use crate::accept::wants_html;
use crate::answer::text;
use crate::pages::frame::{html_page, once};
use crate::pages::parts;
use crate::pages::times::ago;
use crate::routes::Page;

/// Largest body of a request, bytes: three names, each byte of them encoded as three.
const MAX_BODY: usize = 16 << 10;

#[derive(Clone)]
pub(crate) struct HandOver {
    pub(crate) tracker: Option<Arc<HaTracker>>,
    pub(crate) is_enabled: bool,
}

/// What is to be handed over.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    tenant: String,
    #[serde(default)]
    cluster: String,
    #[serde(default)]
    replica: String,
}

/// Asks for confirmation.
pub(crate) async fn page(State(parts): State<HandOver>, Query(asked): Query<Asked>) -> Response {
    let content = match parts.ready(&asked) {
        Err(refusal) => notice(&refusal.message),
        Ok(tracker) => confirmation(tracker, &asked),
    };
    html_page(Page::HandOver.route().title, &content)
}

/// Hands the election over.
pub(crate) async fn post(State(parts): State<HandOver>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let answer = match axum::body::to_bytes(body, MAX_BODY).await {
        Ok(body) => hand_over(&parts, &head.headers, &body, who(&head)).await,
        Err(_) => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the body has more than {MAX_BODY} bytes: send tenant, cluster and replica only"
            ),
        )),
    };
    let is_browser = wants_html(&head.headers);
    match answer {
        Ok((asked, _)) if is_browser => {
            let back = Wanted {
                tenant: asked.tenant,
                cluster: asked.cluster,
                ..Wanted::default()
            };
            (StatusCode::SEE_OTHER, [(LOCATION, back.link())]).into_response()
        }
        Ok((asked, handed)) => text(StatusCode::OK, done(&asked, handed)),
        Err(refusal) if is_browser => {
            let page = html_page(Page::HandOver.route().title, &notice(&refusal.message));
            (refusal.status, page).into_response()
        }
        Err(refusal) => text(refusal.status, visible(&refusal.message)),
    }
}

/// Why nothing was handed over.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }
}

impl From<HandOverError> for Refusal {
    fn from(error: HandOverError) -> Self {
        let status = match &error {
            HandOverError::UnknownCluster { .. } => StatusCode::NOT_FOUND,
            HandOverError::NotSeen { .. }
            | HandOverError::AlreadyElected { .. }
            | HandOverError::Superseded { .. } => StatusCode::CONFLICT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl HandOver {
    /// The tracker, if it may be asked for this.
    fn ready(&self, asked: &Asked) -> Result<&HaTracker, Refusal> {
        let Some(tracker) = self.tracker.as_deref().filter(|_| self.is_enabled) else {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "handing elections over by hand is off: set distributor.ha_tracker.enable_handover: \
                 true, with the HA tracker on",
            ));
        };
        if !tracker.is_ready() {
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "starting: the HA tracker has not read its store yet; retry later",
            ));
        }
        for (name, value) in [
            ("tenant", &asked.tenant),
            ("cluster", &asked.cluster),
            ("replica", &asked.replica),
        ] {
            if value.is_empty() {
                return Err(Refusal::new(
                    StatusCode::BAD_REQUEST,
                    format!("{name} is missing: send tenant, cluster and replica as a form"),
                ));
            }
        }
        Ok(tracker)
    }
}

async fn hand_over(
    parts: &HandOver,
    headers: &HeaderMap,
    body: &Bytes,
    who: String,
) -> Result<(Asked, HandedOver), Refusal> {
    if !is_same_site(headers) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "the request comes from a page of another site",
        ));
    }
    let asked = form(body);
    let tracker = parts.ready(&asked)?;
    let Asked {
        tenant,
        cluster,
        replica,
    } = &asked;
    tracing::info!(
        tenant,
        cluster,
        replica,
        who,
        "asked to hand an election over"
    );
    let handed = tracker.hand_over(tenant, cluster, replica).await;
    let handed = handed.inspect_err(|error| {
        tracing::warn!(tenant, cluster, replica, who, %error, "did not hand an election over");
    })?;
    Ok((asked, handed))
}

/// Fields of a form; unknown ones are ignored.
fn form(body: &[u8]) -> Asked {
    let mut asked = Asked::default();
    for (key, value) in url::form_urlencoded::parse(body) {
        match &*key {
            "tenant" => asked.tenant = value.into_owned(),
            "cluster" => asked.cluster = value.into_owned(),
            "replica" => asked.replica = value.into_owned(),
            _ => {}
        }
    }
    asked
}

/// Whether no page of another site has sent the form. Browsers say where a request comes from; other
/// programs, which no foreign page can use, say nothing.
fn is_same_site(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin" || site == "none";
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return true;
    };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let origin = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"));
    matches!((origin, host), (Some((_, origin)), Some(host)) if origin == host)
}

/// The address of the client, and what a proxy before this server says of it.
fn who(head: &axum::http::request::Parts) -> String {
    let address = head.extensions.get::<ConnectInfo<SocketAddr>>();
    let address = address.map_or_else(
        || "unknown".to_owned(),
        |ConnectInfo(address)| address.ip().to_canonical().to_string(),
    );
    let forwarded = head.headers.get("x-forwarded-for");
    match forwarded.and_then(|forwarded| forwarded.to_str().ok()) {
        Some(forwarded) => format!("{address}, for {}", visible(forwarded)),
        None => address,
    }
}

fn done(asked: &Asked, handed: HandedOver) -> String {
    let (replica, cluster) = (visible(&asked.replica), visible(&asked.cluster));
    match handed {
        HandedOver::Elected => format!("replica {replica:?} of cluster {cluster:?} is elected"),
        HandedOver::Begun => format!(
            "the handover to replica {replica:?} of cluster {cluster:?} has begun, and is complete \
             when what is in flight is stored"
        ),
    }
}

fn notice(message: &str) -> Markup {
    html! {
        (once())
        div.notice.warning { p { "Nothing was changed: " (visible(message)) "." } }
        p { a href=(Page::HaTracker.route().path) { "Back to the HA tracker" } }
    }
}

fn confirmation(tracker: &HaTracker, asked: &Asked) -> Markup {
    let now_ms = Clock::System.now_ms();
    let Some(status) = tracker.cluster_status(&asked.tenant, &asked.cluster, now_ms) else {
        return notice(
            &HandOverError::UnknownCluster {
                tenant: asked.tenant.clone(),
                cluster: asked.cluster.clone(),
            }
            .to_string(),
        );
    };
    if !is_plain([&asked.tenant, &asked.cluster, &asked.replica]) {
        return notice("a name has invisible characters; send the request with another program");
    }
    let known = status
        .others
        .iter()
        .find(|other| other.replica == asked.replica);
    let seen = known.and_then(|known| known.seen_ms);
    html! {
        p { "Elect replica " b { (parts::name(&asked.replica)) } " of cluster " b { (parts::name(&asked.cluster)) }
            " (tenant " b { (parts::name(&asked.tenant)) } ") instead of " b { (parts::name(&status.elected.replica)) } "?" }
        p.note {
            @match seen {
                Some(seen_ms) => { "Its last request came " (ago(now_ms, seen_ms)) "." },
                None => { "This distributor has not seen it." },
            }
            " From then on its samples are stored, and those of the other replica are dropped. Check first that both have the same data."
        }
        form method="post" action=(Page::HandOver.route().path) {
            input type="hidden" name="tenant" value=(asked.tenant);
            input type="hidden" name="cluster" value=(asked.cluster);
            input type="hidden" name="replica" value=(asked.replica);
            button.primary { "Elect it" }
            a href=(Page::HaTracker.route().path) { "Cancel" }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    #[test]
    fn forms_of_other_sites_are_refused() {
        let allowed = |headers: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(HeaderName::from_static(name), value.parse().unwrap());
            }
            is_same_site(&map)
        };
        let host = ("host", "ha:8080");
        assert!(allowed(&[host]), "curl");
        assert!(allowed(&[host, ("origin", "http://ha:8080")]));
        assert!(allowed(&[
            host,
            ("origin", "https://proxy"),
            ("sec-fetch-site", "same-origin")
        ]));
        assert!(!allowed(&[host, ("origin", "http://evil")]));
        assert!(!allowed(&[host, ("origin", "null")]));
        for site in ["cross-site", "same-site"] {
            assert!(!allowed(&[
                host,
                ("origin", "http://ha:8080"),
                ("sec-fetch-site", site)
            ]));
        }
    }

    #[test]
    fn a_form_is_read() {
        let asked = form(b"tenant=t&cluster=eu%2F1&replica=a+b&other=x");
        let expected = Asked {
            tenant: "t".into(),
            cluster: "eu/1".into(),
            replica: "a b".into(),
        };
        assert_eq!(asked, expected);
    }

    #[test]
    fn it_is_off_unless_configured_and_needs_all_names() {
        let off = HandOver {
            tracker: None,
            is_enabled: true,
        };
        let refusal = off.ready(&Asked::default()).err().unwrap();
        assert_eq!(refusal.status, StatusCode::FORBIDDEN);
        assert!(refusal.message.contains("enable_handover"), "{refusal:?}");
    }
}
