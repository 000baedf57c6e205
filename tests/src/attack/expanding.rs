//! Requests that are small as they are sent, and cost much when they are opened.

use std::collections::BTreeMap;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures::future::{FutureExt as _, join_all};
use serde_json::json;

use super::{Attack, Outcome, Size, Victim};
use crate::GrpcClient;

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "empty-series",
        what: "32 bodies of 100 MB of empty series, 4.7 MB compressed, at once, three times",
        run: |size| empty_series(size).boxed(),
    },
    Attack {
        name: "empty-series-gzip",
        what: "32 gRPC messages of 100 MB of empty series, 0.1 MB compressed, at once, three times",
        run: |size| empty_series_gzip(size).boxed(),
    },
    Attack {
        name: "unknown-groups",
        what: "32 requests of 65,000 unknown clusters, at once, three times",
        run: |size| unknown_groups(size).boxed(),
    },
];

/// What one instance may hold for pushes, bytes.
fn limit(size: Size) -> u64 {
    size.pick(96 << 20, 256 << 20)
}

async fn victim(size: Size) -> Victim {
    Victim::start(&json!({"distributor": {"instance_limits": {
        "max_inflight_push_requests_bytes": limit(size),
    }}}))
    .await
}

/// Three times, so that what a first one leaves cannot pass for what any number leaves.
const ROUNDS: usize = 3;

/// Sends requests at once in rounds; what they were answered, and how often.
async fn rounds<F: Future<Output = String>>(
    at_once: usize,
    send: impl Fn() -> F,
) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..ROUNDS {
        for answer in join_all((0..at_once).map(|_| send())).await {
            *answers.entry(answer).or_default() += 1;
        }
    }
    answers
}

/// All of these have to be among the answers, and nothing but those and the others.
fn judge(
    outcome: &mut Outcome,
    answers: &BTreeMap<String, usize>,
    needed: &[&str],
    allowed: &[&str],
) {
    outcome.fact("answers", format!("{answers:?}"));
    outcome.demand(needed.iter().all(|one| answers.contains_key(*one)), || {
        format!("not all of {needed:?} among {answers:?}")
    });
    let strange = answers
        .keys()
        .find(|answer| !needed.contains(&answer.as_str()) && !allowed.contains(&answer.as_str()));
    outcome.demand(strange.is_none(), || format!("answered {answers:?}"));
}

async fn over_http(victim: &Victim, at_once: usize, protobuf: &[u8]) -> BTreeMap<String, usize> {
    let body = snap::raw::Encoder::new().compress_vec(protobuf).unwrap();
    let sender = victim.distributor.sender("attacker");
    rounds(at_once, || async {
        let headers = [
            ("Content-Type", "application/x-protobuf"),
            ("Content-Encoding", "snappy"),
        ];
        match sender.try_send_bytes(&headers, body.clone()).await {
            Ok(answer) => answer.status.to_string(),
            Err(_) => "none".to_owned(),
        }
    })
    .await
}

async fn empty_series(size: Size) -> Outcome {
    let (at_once, bytes) = size.pick((8, 20_000_000), (32, 100_000_000));
    victim(size)
        .await
        .under(size, async |victim, outcome| {
            outcome.allow_pushes(limit(size));
            let answers = over_http(victim, at_once, &[0x0a, 0].repeat(bytes / 2)).await;
            judge(outcome, &answers, &["400"], &["503", "none"]);
        })
        .await
}

async fn empty_series_gzip(size: Size) -> Outcome {
    let (at_once, bytes) = size.pick((8, 20_000_000), (32, 100_000_000));
    let mut encoder = GzEncoder::new(vec![0; 5], Compression::best());
    encoder.write_all(&[0x0a, 0].repeat(bytes / 2)).unwrap();
    let mut frame = encoder.finish().unwrap();
    let length = u32::try_from(frame.len() - 5).unwrap().to_be_bytes();
    frame[0] = 1;
    frame[1..5].copy_from_slice(&length);
    victim(size)
        .await
        .under(size, async |victim, outcome| {
            outcome.fact("bytes of each", length_text(frame.len()));
            outcome.allow_pushes(limit(size));
            let answers = rounds(at_once, || async {
                // A connection each.
                let client = GrpcClient::new(&victim.distributor);
                let pushed = client.push_frame("attacker", Some("gzip"), frame.clone());
                match pushed.await {
                    Ok(()) => "Ok".to_owned(),
                    Err(status) => format!("{:?}", status.code()),
                }
            })
            .await;
            judge(outcome, &answers, &["InvalidArgument"], &["Unavailable"]);
        })
        .await
}

fn length_text(bytes: usize) -> String {
    format!("{} kB", bytes / 1000)
}

async fn unknown_groups(size: Size) -> Outcome {
    let (at_once, groups) = size.pick((8, 10_000), (32, 65_000));
    let mut request = Vec::new();
    for group in 0..groups {
        let cluster = format!("{group:x}");
        let mut series = Vec::new();
        for (name, value) in [("__replica__", "r"), ("cluster", &cluster)] {
            let lengths = [name.len() as u8, value.len() as u8];
            series.extend([0x0a, lengths[0] + lengths[1] + 4, 0x0a, lengths[0]]);
            series.extend(name.bytes().chain([0x12, lengths[1]]));
            series.extend(value.bytes());
        }
        request.extend([0x0a, series.len() as u8]);
        request.extend(series);
    }
    victim(size)
        .await
        .under(size, async |victim, outcome| {
            outcome.allow_pushes(limit(size));
            let answers = over_http(victim, at_once, &request).await;
            judge(outcome, &answers, &["400"], &["503"]);
        })
        .await
}
