//! [`Target`]: something to scrape.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use prost::Message as _;
use remote_write_testkit::http_server::{ResetConnection, Server};

use crate::exposition::{
    Counter, Exemplar, Gauge, Histogram, Metric, MetricFamily, MetricType, label_pairs,
};
use crate::{Labels, labels};

const PROTOBUF: &str = "application/vnd.google.protobuf; \
                        proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// An exporter in the test: `/metrics` in the protobuf format, of series that the test sets,
/// changes and removes.
#[derive(Debug)]
pub struct Target {
    server: Server,
    state: Arc<Mutex<State>>,
}

type Key = (String, Labels);

#[derive(Debug, Default)]
struct State {
    series: BTreeMap<Key, Value>,
    scrapes: u64,
    down: bool,
}

#[derive(Debug, Clone)]
enum Value {
    Gauge(f64),
    Counter(f64, Option<Exemplar>),
    Histogram(Histogram),
    ScrapeNumber,
}

impl Target {
    /// Starts one without series.
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = Server::bind(0, move |request| {
            let answer = answer(&mut shared.lock().unwrap(), &request);
            async move { answer }
        })
        .await
        .unwrap();
        Self { server, state }
    }

    /// What to write into a scrape configuration.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// How often it has been scraped.
    pub fn scrapes(&self) -> u64 {
        self.state.lock().unwrap().scrapes
    }

    /// While down, scrapes fail with 503.
    pub fn set_down(&self, down: bool) {
        self.state.lock().unwrap().down = down;
    }

    /// Sets a gauge.
    pub fn set_gauge(&self, name: &str, pairs: &[(&str, &str)], value: f64) {
        self.set(name, pairs, Value::Gauge(value));
    }

    /// Sets a counter to a total, with an exemplar if given.
    pub fn set_counter(
        &self,
        name: &str,
        pairs: &[(&str, &str)],
        total: f64,
        exemplar: Option<Exemplar>,
    ) {
        self.set(name, pairs, Value::Counter(total, exemplar));
    }

    /// Sets a histogram.
    pub fn set_histogram(&self, name: &str, pairs: &[(&str, &str)], histogram: Histogram) {
        self.set(name, pairs, Value::Histogram(histogram));
    }

    /// Sets a gauge that increases by one with every scrape, by any scraper: a value names the one
    /// scrape that read it.
    pub fn set_scrape_number(&self, name: &str) {
        self.set(name, &[], Value::ScrapeNumber);
    }

    /// Removes a series: who scrapes it next writes a staleness marker.
    pub fn remove(&self, name: &str, pairs: &[(&str, &str)]) {
        self.state
            .lock()
            .unwrap()
            .series
            .remove(&(name.to_owned(), labels(pairs)));
    }

    fn set(&self, name: &str, pairs: &[(&str, &str)], value: Value) {
        self.state
            .lock()
            .unwrap()
            .series
            .insert((name.to_owned(), labels(pairs)), value);
    }
}

fn answer(
    state: &mut State,
    request: &Request<Incoming>,
) -> Result<Response<Full<Bytes>>, ResetConnection> {
    let plain = |status: StatusCode, text: &'static str| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        Ok(response)
    };
    if state.down {
        return plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "down, as the test wants it\n",
        );
    }
    let accept = request
        .headers()
        .get("accept")
        .and_then(|value| value.to_str().ok());
    if !accept
        .unwrap_or_default()
        .contains("application/vnd.google.protobuf")
    {
        return plain(
            StatusCode::NOT_ACCEPTABLE,
            "only protobuf: enable native histograms\n",
        );
    }
    state.scrapes += 1;
    let mut response = Response::new(Full::from(render(&state.series, state.scrapes)));
    response
        .headers_mut()
        .insert("content-type", PROTOBUF.parse().unwrap());
    Ok(response)
}

fn render(series: &BTreeMap<Key, Value>, scrapes: u64) -> Vec<u8> {
    let mut families: BTreeMap<&str, MetricFamily> = BTreeMap::new();
    for ((name, labels), value) in series {
        let (kind, mut metric) = match value.clone() {
            Value::Gauge(value) => gauge(value),
            Value::ScrapeNumber => gauge(scrapes as f64),
            Value::Counter(value, exemplar) => (
                MetricType::Counter,
                Metric {
                    counter: Some(Counter {
                        value: Some(value),
                        exemplar,
                    }),
                    ..Metric::default()
                },
            ),
            Value::Histogram(histogram) => (
                MetricType::Histogram,
                Metric {
                    histogram: Some(histogram),
                    ..Metric::default()
                },
            ),
        };
        metric.label = label_pairs(labels);
        let family = families.entry(name).or_insert_with(|| MetricFamily {
            name: Some(name.clone()),
            help: Some(format!("Help of {name}.")),
            kind: Some(kind.into()),
            metric: Vec::new(),
        });
        family.metric.push(metric);
    }
    families
        .values()
        .flat_map(MetricFamily::encode_length_delimited_to_vec)
        .collect()
}

fn gauge(value: f64) -> (MetricType, Metric) {
    let metric = Metric {
        gauge: Some(Gauge { value: Some(value) }),
        ..Metric::default()
    };
    (MetricType::Gauge, metric)
}
