//! Both members run all the time: what arrives, and what the members think of it.

use e2e::{SHORT, STALE_NAN_BITS, Series, Sink, Version, wait_for};

use crate::pair::{CLUSTER, Pair, REPLICAS, Setup, ms, now_ms};

pub(crate) async fn every_kind_of_data_arrives_once(setup: Setup) {
    let sink = Sink::start().await;
    let pair = Pair::start(setup, Some(&sink)).await;
    let elected = pair.wait_elected().await;

    everything_is_there(&pair, &sink).await;
    removed_series_end(&pair, &sink).await;

    // Everything of the elected one and nothing of the other's, in every series.
    let until = now_ms() + 1000;
    pair.wait_history(&[elected], until).await;
    for (index, name) in REPLICAS.iter().enumerate() {
        // Acknowledged times are rounded down.
        let queue = pair.wait_acknowledged(index, until / 1000 * 1000).await;
        queue.assert_lossless(name);
        assert_eq!(queue.retried, 0.0, "{name}: {queue:?}");
        let log = pair.members[index].server.process.log();
        assert!(!log.contains("non-recoverable"), "{log}");
    }
    assert!(pair.deduplicated().await > 0.0);
    assert_eq!(pair.elected().await, Ok(elected));

    assert!(sink.refused().is_empty(), "{:?}", sink.refused());
    assert!(sink.duplicates().is_empty(), "{:?}", sink.duplicates());
    for request in sink.requests() {
        assert_eq!(request.version, setup.version);
        assert_eq!(request.tenant.as_deref(), Some(setup.tenant()));
        let agent = request.headers["user-agent"].to_str().unwrap();
        assert!(
            agent.starts_with("ha-distributor/") && agent.contains("Prometheus/"),
            "{agent}"
        );
        for series in request.series {
            assert_eq!(series.labels["cluster"], CLUSTER, "{series:?}");
            assert!(!series.labels.contains_key("__replica__"), "{series:?}");
        }
    }
}

/// Gauge, counter, histograms, exemplar at the receiver; metadata at the sink, because 2.42 does
/// not keep it.
async fn everything_is_there(pair: &Pair, sink: &Sink) {
    let receiver = &pair.receiver;
    for (promql, expected) in [
        ("temperature{cluster='pair',room='a'}", "21.5"),
        ("requests_total{code='200'}", "7"),
        ("classic_bucket{le=~'5(.0)?'}", "5"),
        ("histogram_count(native)", "6"),
        ("histogram_sum(native)", "9"),
        ("histogram_quantile(1, native)", "4"),
    ] {
        wait_for(promql, SHORT, || async move {
            match receiver.query(promql).await?.as_slice() {
                [one] if one["value"][1] == expected => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
    wait_for("the exemplar", SHORT, || async {
        let found = receiver.exemplars("requests_total").await?;
        let [series] = found.as_slice() else {
            return Err(format!("{found:?}"));
        };
        assert_eq!(series["seriesLabels"]["cluster"], CLUSTER, "{series}");
        assert!(series["seriesLabels"]["__replica__"].is_null(), "{series}");
        match series["exemplars"].as_array().map(Vec::as_slice) {
            Some([one]) if one["labels"]["trace_id"] == "abc" => Ok(()),
            _ => Err(format!("{series}")),
        }
    })
    .await;
    // Of Prometheus' numbering: counter 1, gauge 2, histogram 3.
    for (name, kind) in [("requests_total", 1), ("temperature", 2), ("native", 3)] {
        let help = format!("Help of {name}.");
        wait_for(&format!("metadata of {name}"), SHORT, || async {
            let metadata = sink.metadata();
            let found = metadata.iter().any(|m| m.help == help && m.kind == kind);
            found.then_some(()).ok_or_else(|| format!("{metadata:?}"))
        })
        .await;
    }
    let separate = sink.requests().iter().any(|r| !r.metadata.is_empty());
    assert_eq!(separate, pair.setup.version == Version::V1);
}

/// A series that is gone from the target is gone from the receiver at once, and its end came
/// through unchanged and once.
async fn removed_series_end(pair: &Pair, sink: &Sink) {
    let stale = |name: &'static str| {
        let series = sink.series();
        let of = series.into_iter().filter(move |s| s.name() == name);
        of.flat_map(|s| stale_times(&s)).collect::<Vec<i64>>()
    };
    for (name, labels) in [("temperature", &[("room", "a")][..]), ("native", &[])] {
        assert!(stale(name).is_empty());
        pair.target.remove(name, labels);
        // Within less than the five minutes that a series without an end is looked back for.
        wait_for(&format!("{name} to end"), SHORT, || async move {
            match pair.receiver.query(name).await?.as_slice() {
                [] => Ok(()),
                left => Err(format!("{left:?}")),
            }
        })
        .await;
        let time = wait_for(&format!("one end of {name}"), SHORT, || async {
            match *stale(name) {
                [time] => Ok(time),
                ref times => Err(format!("{times:?}")),
            }
        })
        .await;
        // Until the other member's, too, must have been sent.
        let scrapes = std::time::Duration::from_secs(2);
        for index in 0..REPLICAS.len() {
            pair.wait_acknowledged(index, time + ms(scrapes)).await;
        }
        assert_eq!(stale(name), [time]);
    }
    let stored = pair.receiver.raw_samples("temperature").await.unwrap();
    assert_eq!(stored.len(), 1, "what was before is still there");
}

/// When a series ends, by floats or histograms with the marker's exact bits.
fn stale_times(series: &Series) -> Vec<i64> {
    let floats = series
        .samples
        .iter()
        .filter(|sample| sample.bits == STALE_NAN_BITS)
        .map(|sample| sample.timestamp);
    let histograms = series
        .histograms
        .iter()
        .filter(|histogram| histogram.sum.to_bits() == STALE_NAN_BITS)
        .map(|histogram| histogram.timestamp);
    floats.chain(histograms).collect()
}
