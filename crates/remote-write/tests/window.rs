//! Windows of time: which samples of a request they leave, and that windows side by side leave all.

mod encoding;
mod wire;

use proptest::prelude::*;
use prost::Message as _;
use remote_write::proto::{v1, v2};
use remote_write::{Counts, Scan, ScanError, Verdict, Version, Window};

use encoding::{request_v1, request_v2};
use wire::*;

fn within(after_ms: i64, until_ms: i64) -> Verdict {
    Verdict::Within(Window { after_ms, until_ms })
}

fn windowed(
    version: Version,
    request: &[u8],
    verdict: Verdict,
) -> Result<(Scan, Vec<u8>), ScanError> {
    judged(version, request, &mut |_, _| verdict)
}

fn sample_at(timestamp: i64) -> Vec<u8> {
    sample(timestamp)
}

fn exemplar_at(version: Version, timestamp: i64) -> Vec<u8> {
    let number_of = match version {
        Version::V1 => 3,
        Version::V2 => 4,
    };
    field(
        number_of,
        &[double(2, 0.5), number(3, timestamp as u64)].concat(),
    )
}

fn histogram_at(version: Version, timestamp: i64) -> Vec<u8> {
    let number_of = match version {
        Version::V1 => 4,
        Version::V2 => 3,
    };
    field(
        number_of,
        &[double(3, 0.5), number(15, timestamp as u64)].concat(),
    )
}

/// Requests of one pair whose series have these parts, and what they are without the replica label.
fn requests(version: Version, series_parts: &[&[Vec<u8>]]) -> (Vec<u8>, Vec<u8>) {
    let (mut sent, mut stripped) = match version {
        Version::V1 => (Vec::new(), Vec::new()),
        Version::V2 => (usual_symbols(), usual_symbols()),
    };
    for parts in series_parts {
        let parts = parts.concat();
        let [whole, without] = match version {
            Version::V1 => [
                series(&[
                    label("__replica__", "r1"),
                    label("cluster", "c1"),
                    parts.clone(),
                ]),
                series(&[label("cluster", "c1"), parts]),
            ],
            Version::V2 => [
                series_v2(&[refs(&[3, 4, 5, 6]), parts.clone()]),
                series_v2(&[refs(&[5, 6]), parts]),
            ],
        };
        sent.extend(whole);
        stripped.extend(without);
    }
    (sent, stripped)
}

#[test]
fn what_lies_outside_is_left_out_and_counted() {
    for version in [Version::V1, Version::V2] {
        let (sent, _) = requests(
            version,
            &[
                &[sample_at(10), sample_at(11), sample_at(20), sample_at(21)],
                &[sample_at(5), histogram_at(version, 9)],
                &[histogram_at(version, 8), histogram_at(version, 15)],
                &[exemplar_at(version, 12), exemplar_at(version, 30)],
                &[exemplar_at(version, 30)],
                &[],
                &[sample_at(15)],
            ],
        );
        let (found, output) = windowed(version, &sent, within(10, 20)).unwrap();
        let (_, expected) = requests(
            version,
            &[
                &[sample_at(11), sample_at(20)],
                &[histogram_at(version, 15)],
                &[exemplar_at(version, 12)],
                &[sample_at(15)],
            ],
        );
        assert_eq!(output, expected, "{version:?}");
        let group = &found.groups[0];
        assert_eq!(
            group.outside,
            Counts {
                series: 3,
                samples: 3,
                histograms: 2,
                exemplars: 2,
            }
        );
        assert_eq!(found.dropped(), group.outside);
        assert_eq!(found.kept_series(), 4);
        // Times are those of all that came in, ages those of what is left.
        assert_eq!((group.earliest_ms, group.latest_ms), (Some(5), Some(21)));
        assert_eq!(found.ages.latest_ms(), Some(20));
        assert_eq!(found.ages.counts().iter().sum::<u64>(), 4);
        assert!(found.modified);
    }
}

#[test]
fn a_window_around_everything_is_as_none() {
    for version in [Version::V1, Version::V2] {
        let parts: &[&[Vec<u8>]] = &[
            &[sample_at(10)],
            &[sample_at(11), exemplar_at(version, 11)],
            &[histogram_at(version, 12)],
        ];
        let (sent, stripped) = requests(version, parts);
        let (found, output) = windowed(version, &sent, within(9, 12)).unwrap();
        assert_eq!(output, stripped);
        assert_eq!(found.groups[0].outside, Counts::default());
        let (kept, _) = windowed(version, &sent, Verdict::Keep).unwrap();
        assert_eq!(found.ages.counts(), kept.ages.counts());
        assert_eq!(found.kept_series(), 3);
    }
}

#[test]
fn each_group_has_its_own_window() {
    let series_of = |cluster: &str, timestamp| {
        let labels = [label("__replica__", "r1"), label("cluster", cluster)];
        series(&[labels.concat(), sample(timestamp)])
    };
    let sent = [
        series_of("a", 10),
        series_of("b", 10),
        series(&[label("job", "j"), sample(10)]),
        series_of("a", 20),
        series_of("c", 1),
        series_of("b", 20),
    ]
    .concat();
    let mut verdict = |cluster: &str, _: &str| match cluster {
        "a" => within(10, i64::MAX),
        "b" => within(i64::MIN, 10),
        _ => Verdict::Later,
    };
    let (mut found, mut output) = judged(Version::V1, &sent, &mut verdict).unwrap();
    let expected = |with_c: bool| {
        let kept = |cluster, timestamp| series(&[label("cluster", cluster), sample(timestamp)]);
        let mut expected = vec![
            kept("b", 10),
            series(&[label("job", "j"), sample(10)]),
            kept("a", 20),
        ];
        if with_c {
            expected.push(kept("c", 1));
        }
        expected.concat()
    };
    assert_eq!(output, expected(true));
    // Groups with a window are settled; those that were left open still can be discarded.
    found.discard(&mut output, &[0, 1, 2]);
    assert_eq!(output, expected(false));
}

/// What a request holds, each with the labels of its series (without the replica's) and its bytes.
fn contents(version: Version, request: &[u8]) -> Result<Vec<(String, i64)>, prost::DecodeError> {
    let mut contents = Vec::new();
    let mut add = |labels: &str, what: String, time: i64| {
        contents.push((format!("{labels} {what}"), time));
    };
    match version {
        Version::V1 => {
            for series in v1::WriteRequest::decode(request)?.timeseries {
                let labels = format!("{:?}", series.labels);
                for one in series.samples {
                    add(&labels, format!("{one:?}"), one.timestamp);
                }
                for one in series.histograms {
                    add(&labels, format!("{one:?}"), one.timestamp);
                }
                for one in series.exemplars {
                    add(&labels, format!("{one:?}"), one.timestamp);
                }
            }
        }
        Version::V2 => {
            for series in v2::Request::decode(request)?.timeseries {
                let labels = format!("{:?}", series.labels_refs);
                for one in series.samples {
                    add(&labels, format!("{one:?}"), one.timestamp);
                }
                for one in series.histograms {
                    add(&labels, format!("{one:?}"), one.timestamp);
                }
                for one in series.exemplars {
                    add(&labels, format!("{one:?}"), one.timestamp);
                }
            }
        }
    }
    Ok(contents)
}

/// Slices of a request, each from the request as it came, have together what the whole has, each in
/// its window.
fn slices_are_the_whole(
    version: Version,
    request: &[u8],
    mut cuts: Vec<i64>,
) -> Result<(), TestCaseError> {
    cuts.extend([i64::MIN, i64::MAX]);
    cuts.sort_unstable();
    let fail = |error: &dyn std::fmt::Display| TestCaseError::fail(error.to_string());
    let whole = windowed(version, request, within(i64::MIN, i64::MAX));
    let (whole, output) = whole.map_err(|error| fail(&error))?;
    let mut expected = contents(version, &output).map_err(|error| fail(&error))?;
    let mut together = Vec::new();
    let mut outside = Counts::default();
    for bounds in cuts.windows(2) {
        let window = Window {
            after_ms: bounds[0],
            until_ms: bounds[1],
        };
        let found = windowed(version, request, Verdict::Within(window));
        let (found, output) = found.map_err(|error| fail(&error))?;
        prop_assert!(output.len() <= request.len());
        prop_assert_eq!(found.total(), whole.total());
        for group in &found.groups {
            outside += group.outside;
        }
        for (what, time) in contents(version, &output).map_err(|error| fail(&error))? {
            // Series of no group are in every slice.
            if found.other == Counts::default() {
                prop_assert!(window.contains(time), "{what} in {window:?}");
            }
            together.push((what, time));
        }
    }
    if whole.other == Counts::default() {
        expected.sort();
        together.sort();
        prop_assert_eq!(together, expected);
        let slices = cuts.len() as u64 - 1;
        let (total, never) = (whole.total(), whole.dropped());
        // Each is in one slice and outside of all others; one of the first millisecond is in none.
        prop_assert_eq!(
            outside.samples,
            (total.samples - never.samples) * (slices - 1) + never.samples * slices
        );
    }
    Ok(())
}

fn cuts() -> impl Strategy<Value = Vec<i64>> {
    let cut = prop_oneof![
        1_700_000_000_000..1_800_000_000_000i64,
        any::<i64>(),
        -1..4i64
    ];
    prop::collection::vec(cut, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn slices_of_1_0(request in request_v1(), cuts in cuts()) {
        slices_are_the_whole(Version::V1, &request, cuts)?;
    }

    #[test]
    fn slices_of_2_0(request in request_v2(), cuts in cuts()) {
        slices_are_the_whole(Version::V2, &request, cuts)?;
    }

    #[test]
    fn slices_of_one_pair(
        times in prop::collection::vec(prop::collection::vec(0..40i64, 0..5), 0..6),
        cuts in prop::collection::vec(-1..41i64, 0..5),
    ) {
        for version in [Version::V1, Version::V2] {
            let parts: Vec<Vec<Vec<u8>>> = times
                .iter()
                .enumerate()
                .map(|(index, times)| {
                    let at = |&time: &i64| match index % 3 {
                        0 => sample_at(time),
                        1 => histogram_at(version, time),
                        _ => exemplar_at(version, time),
                    };
                    times.iter().map(at).collect()
                })
                .collect();
            let parts: Vec<&[Vec<u8>]> = parts.iter().map(Vec::as_slice).collect();
            let (sent, _) = requests(version, &parts);
            slices_are_the_whole(version, &sent, cuts.clone())?;
        }
    }
}
