//! The scanner against a full decoder, over legal encodings of any shape and over broken ones.

mod encoding;
mod wire;

use proptest::prelude::*;
use remote_write::proto::reference::disagreement;
use remote_write::{Decides, HaLabelNames, HaRule, Scratch, Verdict, Version, Window};

use encoding::{mutated, request_v1, request_v2};

const NAMES: HaLabelNames<'_> = HaLabelNames {
    cluster: "cluster",
    replica: "__replica__",
};
const RULES: [HaRule<'_>; 2] = [
    NAMES.rule(Decides::EachSeries),
    NAMES.rule(Decides::FirstSeries),
];

/// Any rule will do that keeps some groups and drops others.
fn verdict(cluster: &str, replica: &str) -> Verdict {
    match (cluster.len() + 2 * replica.len()) % 4 {
        0 => Verdict::Drop,
        1 => Verdict::Keep,
        2 => Verdict::Within(Window {
            after_ms: cluster.len() as i64 - 2,
            until_ms: replica.len() as i64 * 1_000,
        }),
        _ => Verdict::Later,
    }
}

fn agree(version: Version, request: &[u8]) -> Result<(), TestCaseError> {
    let mut scratch = Scratch::default();
    scratch.now_ms = 500_000;
    for rule in RULES {
        if let Some(how) = disagreement(version, request, rule, &mut scratch, &verdict) {
            return Err(TestCaseError::fail(format!("{:?}: {how}", rule.decides)));
        }
    }
    Ok(())
}

/// A legal request must not only be judged the same, but accepted.
fn accepted(version: Version, request: &[u8]) -> Result<(), TestCaseError> {
    let scanned = remote_write::scan(
        version,
        &mut request.to_vec(),
        Some(RULES[0]),
        &mut Scratch::default(),
        &mut |_, _| Verdict::Keep,
    );
    prop_assert!(scanned.is_ok(), "{scanned:?}");
    agree(version, request)
}

/// Requests of 2.0 whose series are all of one replica, or nearly all: of symbols that repeat.
fn requests_of_a_replica() -> impl Strategy<Value = Vec<u8>> {
    let cluster = || prop_oneof![30 => prop_oneof![Just(3u64), Just(5)], 1 => 0..7u64];
    let replica = || prop_oneof![30 => prop_oneof![Just(4u64), Just(6)], 1 => 0..7u64];
    prop::collection::vec((cluster(), replica()), 1..8).prop_map(|pairs| {
        let table = wire::symbols(&["", "cluster", "__replica__", "a", "b", "a", "b"]);
        let series = pairs.into_iter().map(|(cluster, replica)| {
            wire::series_v2(&[wire::refs(&[1, cluster, 2, replica]), wire::sample(7)])
        });
        [vec![table], series.collect()].concat().concat()
    })
}

/// What makes a label of a series another one than in the series before.
#[derive(Debug, Clone)]
enum Change {
    Value(prop::sample::Index, String),
    Name(prop::sample::Index, String),
    More(prop::sample::Index, String, String),
    Fewer(prop::sample::Index),
}

/// Requests of 1.0 whose series repeat the labels of the one before, but for some.
fn requests_that_repeat() -> BoxedStrategy<Vec<u8>> {
    let index = any::<prop::sample::Index>;
    let name = || {
        prop::sample::select(&["cluster", "__replica__", "__replicb__", "mode", "le", ""])
            .prop_map(str::to_owned)
    };
    let value = || prop_oneof![20 => "[ab]{0,3}", 5 => "x{40,50}", 1 => "y{120,140}"];
    let change = prop_oneof![
        20 => (index(), value()).prop_map(|(at, value)| Change::Value(at, value)),
        2 => (index(), name()).prop_map(|(at, name)| Change::Name(at, name)),
        1 => (index(), name(), value()).prop_map(|(at, name, value)| Change::More(at, name, value)),
        1 => index().prop_map(Change::Fewer),
    ];
    let series = (prop::collection::vec(change, 0..3), 1..9_usize);
    prop::collection::vec(series, 1..30)
        .prop_map(|all| {
            let mut labels: Vec<(String, String)> = [
                ("__name__", "node_cpu_seconds_total"),
                ("__replica__", "a"),
                ("cluster", "c1"),
                ("instance", "a-host-of-a-usual-name.example.org:9100"),
                ("job", "node-exporter"),
                ("mode", "idle"),
                ("pod", "prometheus-node-exporter-abcde"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
            let mut request = Vec::new();
            for (changes, times) in all {
                for change in changes {
                    let count = labels.len();
                    match change {
                        Change::Value(at, value) => labels[at.index(count)].1 = value,
                        Change::Name(at, name) => labels[at.index(count)].0 = name,
                        Change::More(at, name, value) => {
                            labels.insert(at.index(count), (name, value));
                        }
                        Change::Fewer(at) if count > 1 => {
                            labels.remove(at.index(count));
                        }
                        Change::Fewer(_) => {}
                    }
                }
                for time in 0..times {
                    let mut parts: Vec<Vec<u8>> = labels
                        .iter()
                        .map(|(name, value)| wire::label(name, value))
                        .collect();
                    // Others are in between.
                    let at = 1_760_000_000_000 + time as i64 / 3;
                    parts.extend((0..1 + time / 7).map(|_| wire::sample(at)));
                    request.extend(wire::series(&parts));
                }
            }
            // For readers that look further than to the end of what they read.
            request.extend(wire::field(9, &[7; 300]));
            request
        })
        .boxed()
}

/// Requests of 2.0 whose series repeat the references of the one before, but for some.
fn references_that_repeat() -> BoxedStrategy<Vec<u8>> {
    // Of 150 symbols: in range, of one byte or two, and now and then not, or of one that comes later.
    let reference = || prop_oneof![20 => 1..128_u64, 10 => 128..150_u64, 1 => 150..160_u64];
    let late = prop_oneof![
        20 => Just(None),
        1 => prop::sample::select(&["cluster", "__replica__", "late"]).prop_map(Some),
    ];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), reference()), 0..3);
    let shape = (any::<prop::sample::Index>(), -1..2_i8);
    let series = (changes, shape, 1..6_usize, late);
    prop::collection::vec(series, 1..40)
        .prop_map(|all| {
            let fillers: Vec<String> = (0..147).map(|number| format!("symbol-{number}")).collect();
            let mut table = vec!["", "cluster", "__replica__"];
            table.extend(fillers.iter().map(String::as_str));
            let mut request = wire::symbols(&table);
            let mut references = vec![1, 3, 2, 4, 5, 6, 7, 140, 8, 9, 141, 10];
            for (number, (changes, (at, more), times, late)) in all.into_iter().enumerate() {
                for (at, reference) in changes {
                    let at = at.index(references.len());
                    // Names change less often.
                    if at % 2 == 1 || number % 4 == 0 {
                        references[at] = reference;
                    }
                }
                let pair = 2 * at.index(references.len() / 2);
                match more {
                    1 if number % 3 == 0 => drop(references.splice(pair..pair, [11, 12])),
                    -1 if number % 3 == 0 && references.len() > 2 => {
                        drop(references.drain(pair..pair + 2));
                    }
                    _ => {}
                }
                request.extend(wire::symbols(late.as_slice()));
                for time in 0..times {
                    let sample = wire::sample(1_760_000_000_000 + time as i64 / 3);
                    let parts = [wire::refs(&references), sample];
                    request.extend(wire::series_v2(&parts));
                }
            }
            request.extend(wire::field(9, &[7; 300]));
            request
        })
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn requests_whose_series_repeat(request in requests_that_repeat()) {
        accepted(Version::V1, &request)?;
    }

    #[test]
    fn broken_requests_whose_series_repeat(request in mutated(requests_that_repeat())) {
        agree(Version::V1, &request)?;
    }

    #[test]
    fn requests_whose_references_repeat(request in references_that_repeat()) {
        agree(Version::V2, &request)?;
    }

    #[test]
    fn broken_requests_whose_references_repeat(request in mutated(references_that_repeat())) {
        agree(Version::V2, &request)?;
    }

    #[test]
    fn legal_requests_of_1_0(request in request_v1()) {
        accepted(Version::V1, &request)?;
    }

    #[test]
    fn legal_requests_of_2_0(request in request_v2()) {
        accepted(Version::V2, &request)?;
    }

    #[test]
    fn requests_of_one_replica(request in requests_of_a_replica()) {
        accepted(Version::V2, &request)?;
    }

    #[test]
    fn broken_requests_of_1_0(request in mutated(request_v1())) {
        agree(Version::V1, &request)?;
    }

    #[test]
    fn broken_requests_of_2_0(request in mutated(request_v2())) {
        agree(Version::V2, &request)?;
    }

    #[test]
    fn any_bytes(request in prop::collection::vec(any::<u8>(), 0..200)) {
        agree(Version::V1, &request)?;
        agree(Version::V2, &request)?;
    }
}

/// A series whose label is cut off looks like the one before where a label of the one before that
/// began.
#[test]
fn where_labels_of_another_series_were() {
    let labels = |labels: &[(&str, &str)]| -> Vec<u8> {
        let bytes = labels.iter().map(|(name, value)| wire::label(name, value));
        bytes.collect::<Vec<_>>().concat()
    };
    let series = |labels: &[u8]| wire::series(&[labels.to_vec(), wire::sample(1_760_000_000_000)]);
    // The eleventh label is at 80 to 92.
    let long = "x".repeat(60);
    let mut many = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]
        .map(|name| (name, "x"))
        .to_vec();
    many.extend([("k", "12345"), ("l", &long)]);
    let first = labels(&many);
    for different in [0, 1, 10] {
        many[different].1 = if different == 10 { "67890" } else { "y" };
    }
    // Of the fourth of these, the length of the name is at 80.
    let value = "v".repeat(70);
    let few =
        |p: &str, q: &str| labels(&[("cluster", "c"), ("p", p), ("q", q), ("0123456789", &value)]);
    let (p, q) = ("p".repeat(24), "q".repeat(25));
    let before = few(&p, &q);
    let mut broken = few(&"r".repeat(24), &"s".repeat(25));
    assert_eq!((first[80], before[80], before.len()), (0x0a, 0x0a, 163));
    broken.splice(81..92, *b"\x0e\x0a\x05vwxyz\x12\x05\x07....");
    let legal = [
        series(&first),
        series(&first),
        series(&labels(&many)),
        series(&before),
    ]
    .concat();
    let end = wire::field(9, &[7; 300]);
    let request = [&legal[..], &series(&broken), &end].concat();
    accepted(Version::V1, &[&legal[..], &end].concat()).unwrap();
    agree(Version::V1, &request).unwrap();
    let refused = remote_write::scan(
        Version::V1,
        &mut request.clone(),
        Some(RULES[0]),
        &mut Scratch::default(),
        &mut |_, _| Verdict::Keep,
    );
    assert!(refused.is_err(), "{refused:?}");
}
