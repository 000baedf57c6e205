//! Traces: what a receiver of OTLP gets, and what senders and downstreams see of them.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use e2e::{Distributor, GrpcClient, LONG, SHORT, Sink, Version, wait_for};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use prost::Message as _;
use remote_write_testkit::http_server::{ResetConnection, Server};
use serde_json::json;

use crate::common::{assert_stored, ha_config, ha_series};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// The messages of OTLP, as far as the tests read them.
mod otlp {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Export {
        #[prost(message, repeated, tag = "1")]
        pub(super) resource_spans: Vec<ResourceSpans>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ResourceSpans {
        #[prost(message, optional, tag = "1")]
        pub(super) resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub(super) scope_spans: Vec<ScopeSpans>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub(super) attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ScopeSpans {
        #[prost(message, repeated, tag = "2")]
        pub(super) spans: Vec<Span>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Span {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) trace_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) span_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "4")]
        pub(super) parent_span_id: Vec<u8>,
        #[prost(string, tag = "5")]
        pub(super) name: String,
        #[prost(int32, tag = "6")]
        pub(super) kind: i32,
        #[prost(fixed64, tag = "7")]
        pub(super) start: u64,
        #[prost(fixed64, tag = "8")]
        pub(super) end: u64,
        #[prost(message, repeated, tag = "9")]
        pub(super) attributes: Vec<KeyValue>,
        #[prost(message, optional, tag = "15")]
        pub(super) status: Option<Status>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Status {
        #[prost(int32, tag = "3")]
        pub(super) code: i32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct KeyValue {
        #[prost(string, tag = "1")]
        pub(super) key: String,
        #[prost(message, optional, tag = "2")]
        pub(super) value: Option<AnyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct AnyValue {
        #[prost(oneof = "Value", tags = "1, 3")]
        pub(super) value: Option<Value>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Value {
        #[prost(string, tag = "1")]
        Text(String),
        #[prost(int64, tag = "3")]
        Number(i64),
    }
}

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const ERROR: i32 = 2;

/// A span, readable.
#[derive(Debug, Clone)]
struct Span {
    service: String,
    trace: String,
    id: String,
    parent: String,
    inner: otlp::Span,
}

impl Span {
    fn attribute(&self, key: &str) -> String {
        text(&self.inner.attributes, key)
    }
}

fn text(attributes: &[otlp::KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.clone()) {
        Some(otlp::Value::Text(text)) => text,
        Some(otlp::Value::Number(number)) => number.to_string(),
        None => String::new(),
    }
}

/// A receiver of OTLP over HTTP.
struct Receiver {
    server: Server,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Receiver {
    async fn start() -> Self {
        let spans = Arc::<Mutex<Vec<Span>>>::default();
        let shared = Arc::clone(&spans);
        let server = Server::bind(0, move |request| receive(request, Arc::clone(&shared))).await;
        Self {
            server: server.unwrap(),
            spans,
        }
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// Waits for a span; that nothing arrives can be told only after one that is sent later.
    async fn wait(&self, what: &str, is_it: impl Fn(&Span) -> bool) -> Span {
        wait_for(what, LONG, || async {
            let spans = self.spans.lock().unwrap();
            let found = spans.iter().find(|span| is_it(span)).cloned();
            found.ok_or_else(|| format!("{spans:?}"))
        })
        .await
    }

    fn all(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }
}

async fn receive(
    request: Request<Incoming>,
    spans: Arc<Mutex<Vec<Span>>>,
) -> Result<Response<Full<Bytes>>, ResetConnection> {
    let path = request.uri().path().to_owned();
    let content_type = request.headers()["content-type"].clone();
    let body = request.into_body().collect().await;
    let body = body.map_err(|_| ResetConnection)?.to_bytes();
    let mut response = Response::new(Full::default());
    match otlp::Export::decode(body) {
        Ok(export) if path == "/v1/traces" && content_type == "application/x-protobuf" => {
            spans.lock().unwrap().extend(read(export));
        }
        _ => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    Ok(response)
}

fn read(export: otlp::Export) -> Vec<Span> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut all = Vec::new();
    for of_resource in export.resource_spans {
        let resource = of_resource.resource.unwrap_or_default();
        let service = text(&resource.attributes, "service.name");
        for inner in of_resource.scope_spans.into_iter().flat_map(|s| s.spans) {
            all.push(Span {
                service: service.clone(),
                trace: hex(&inner.trace_id),
                id: hex(&inner.span_id),
                parent: hex(&inner.parent_span_id),
                inner,
            });
        }
    }
    all
}

async fn traced(sink: &Sink, environment: &[(&str, &str)]) -> Distributor {
    let yaml = ha_config(sink, &json!({}));
    let mut all = vec![("OTEL_BSP_SCHEDULE_DELAY", "50")];
    all.extend(environment);
    let mut distributor = Distributor::launch_with("traced", &yaml, &[], &all);
    distributor.wait_ready().await;
    distributor
}

/// What the downstream got last.
fn passed_on(sink: &Sink) -> String {
    let request = sink.take().pop().unwrap();
    request.headers["traceparent"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn without_a_receiver_the_context_of_the_sender_is_forwarded_as_it_came() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("untraced", &ha_config(&sink, &json!({}))).await;
    let context = format!("00-{TRACE}-{PARENT}-01");
    let sender = distributor.sender("t").header("traceparent", &context);
    let answer = sender.send(Version::V1, &[ha_series("m", "c", "a")]).await;
    assert_stored(&answer, Version::V1);
    assert_eq!(passed_on(&sink), context);
}

#[tokio::test]
async fn a_push_its_store_call_and_its_downstream_are_one_trace_of_the_sender() {
    let (sink, receiver) = (Sink::start().await, Receiver::start().await);
    let endpoint = receiver.endpoint();
    let distributor = traced(&sink, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
    let sender = distributor
        .sender("tenant-1")
        .header("traceparent", &format!("00-{TRACE}-{PARENT}-01"))
        .header("tracestate", "vendor=1");
    let answer = sender.send(Version::V2, &[ha_series("m", "c", "a")]).await;
    assert_stored(&answer, Version::V2);

    let push = receiver
        .wait("the push", |span| span.inner.name == "push")
        .await;
    assert_eq!((push.trace.as_str(), push.parent.as_str()), (TRACE, PARENT));
    assert_eq!(push.inner.kind, SERVER);
    assert_eq!(push.service, "ha-distributor");
    assert_eq!(push.attribute("tenant"), "tenant-1");
    assert_eq!(push.attribute("http.response.status_code"), "200");
    assert_eq!(push.attribute("network.protocol.name"), "http");
    assert!(push.inner.start < push.inner.end);
    let below = |name: &'static str| {
        let (trace, parent) = (push.trace.clone(), push.id.clone());
        move |span: &Span| span.inner.name == name && span.trace == trace && span.parent == parent
    };
    let store = receiver.wait("the store call", below("store")).await;
    assert_eq!(store.attribute("db.operation.name"), "CAS");
    assert_eq!(store.attribute("db.system.name"), "memberlist");
    let downstream = receiver.wait("the downstream", below("downstream")).await;
    assert_eq!(downstream.inner.kind, CLIENT);
    assert_eq!(downstream.attribute("http.response.status_code"), "204");

    let request = sink.take().pop().unwrap();
    let context = request.headers["traceparent"].to_str().unwrap();
    assert_eq!(context, format!("00-{TRACE}-{}-01", downstream.id));
    assert_eq!(request.headers["tracestate"], "vendor=1");

    // A known cluster needs no store; what is deduplicated needs no downstream.
    let sender = distributor.sender("tenant-1");
    let answer = sender.send(Version::V2, &[ha_series("m", "c", "b")]).await;
    assert_eq!(answer.status, 202);
    let is_dropped = |span: &Span| span.attribute("http.response.status_code") == "202";
    let dropped = receiver.wait("the dropped push", is_dropped).await;
    assert_eq!(dropped.parent, "");
    let spans = receiver.all();
    let of_dropped = spans.iter().filter(|span| span.trace == dropped.trace);
    assert_eq!(of_dropped.count(), 1, "{spans:?}");

    // A failure is marked as one.
    sink.fail_next(1, &e2e::Fault::status(503));
    let answer = sender.send(Version::V2, &[ha_series("m", "c", "a")]).await;
    assert_eq!(answer.status, 503);
    for name in ["push", "downstream"] {
        let is_failed = |span: &Span| {
            span.inner.name == name && span.attribute("http.response.status_code") == "503"
        };
        let failed = receiver.wait("the failure", is_failed).await;
        assert_eq!(failed.inner.status.map(|status| status.code), Some(ERROR));
    }

    GrpcClient::new(&distributor)
        .push(Some("t"), &[ha_series("m", "c", "a")])
        .await
        .unwrap();
    let is_grpc = |span: &Span| span.attribute("network.protocol.name") == "grpc";
    receiver.wait("the push over gRPC", is_grpc).await;
}

#[tokio::test]
async fn the_sender_and_the_sampler_decide_what_is_sent() {
    let (sink, receiver) = (Sink::start().await, Receiver::start().await);
    let endpoint = format!("{}/v1/traces", receiver.endpoint());
    let distributor = traced(
        &sink,
        &[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &endpoint),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0"),
            ("OTEL_SERVICE_NAME", "pairs"),
        ],
    )
    .await;
    let series = [ha_series("m", "c", "a")];
    let push = async |context: Option<&str>| {
        let sender = distributor.sender("t");
        let sender = match context {
            Some(context) => sender.header("traceparent", context),
            None => sender,
        };
        assert_stored(&sender.send(Version::V1, &series).await, Version::V1);
        passed_on(&sink)
    };
    // Of its own accord it would send none; a sender can ask for one.
    let unsampled = push(None).await;
    assert!(unsampled.ends_with("-00"), "{unsampled}");
    let refused = push(Some(&format!("00-{TRACE}-{PARENT}-00"))).await;
    assert!(refused.starts_with(&format!("00-{TRACE}-")), "{refused}");
    assert!(refused.ends_with("-00"), "{refused}");
    // What is no context begins a new trace.
    let unsampled = push(Some("00-nonsense-01")).await;
    assert!(unsampled.ends_with("-00"), "{unsampled}");
    let other = "1".repeat(32);
    push(Some(&format!("00-{other}-{PARENT}-01"))).await;
    let sent = receiver
        .wait("the push", |span| span.inner.name == "push")
        .await;
    assert_eq!(sent.service, "pairs");
    let spans = receiver.all();
    assert!(spans.iter().all(|span| span.trace == other), "{spans:?}");
}

#[tokio::test]
async fn a_receiver_that_is_unavailable_delays_no_push_and_is_logged() {
    let sink = Sink::start().await;
    let gone = Receiver::start().await.endpoint();
    let distributor = traced(&sink, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &gone)]).await;
    for _ in 0..10 {
        let sender = distributor.sender("t");
        let answer = sender.send(Version::V1, &[ha_series("m", "c", "a")]).await;
        assert_stored(&answer, Version::V1);
    }
    wait_for("the log", SHORT, || async {
        let log = distributor.process.log();
        let is_told = log.contains("traces cannot be sent") && log.contains(&gone);
        is_told.then_some(()).ok_or(log)
    })
    .await;
}

#[tokio::test]
async fn the_end_of_the_process_sends_what_is_left() {
    let (sink, receiver) = (Sink::start().await, Receiver::start().await);
    let endpoint = receiver.endpoint();
    let mut distributor = traced(
        &sink,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_BSP_SCHEDULE_DELAY", "600000"),
        ],
    )
    .await;
    let sender = distributor.sender("t");
    let answer = sender.send(Version::V1, &[ha_series("m", "c", "a")]).await;
    assert_stored(&answer, Version::V1);
    distributor.process.sigterm();
    let status = distributor.process.wait_exit(SHORT).await;
    assert_eq!(status.code(), Some(0));
    let spans = receiver.all();
    assert!(spans.iter().any(|span| span.inner.name == "push"));
}

#[tokio::test]
async fn a_wrong_variable_is_refused_at_the_start() {
    let sink = Sink::start().await;
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ];
    let yaml = ha_config(&sink, &json!({}));
    for flags in [&[][..], &["-config.check"]] {
        let mut distributor = Distributor::launch_with("wrong", &yaml, flags, &environment);
        let status = distributor.process.wait_exit(SHORT).await;
        assert_eq!(status.code(), Some(64));
        let log = distributor.process.log();
        assert!(
            log.contains("OTEL_EXPORTER_OTLP_PROTOCOL is \"grpc\""),
            "{log}"
        );
    }
}
