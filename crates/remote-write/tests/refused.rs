//! What must be refused with an error that names what and where: broken requests, and bombs.

mod wire;

use remote_write::{Problem, ScanError, Scratch, Verdict, Version};

use wire::{
    EACH, double, field, ha_series, label, number, refs, sample, scan, series, series_v2, symbols,
    usual_symbols, varint,
};

/// The request must be refused, in the same way when its series are dropped and without names.
#[expect(clippy::unwrap_used, reason = "a test of errors")]
fn refused(version: Version, request: &[u8]) -> ScanError {
    let error = scan(version, request).unwrap_err();
    let text = error.to_string();
    assert!(!text.contains('\n') && text.len() < 300, "{text}");
    for names in [Some(EACH), None] {
        let judge = &mut |_: &str, _: &str| Verdict::Drop;
        let mut buf = request.to_vec();
        let again = remote_write::scan(version, &mut buf, names, &mut Scratch::default(), judge);
        assert_eq!(again, Err(error));
    }
    error
}

/// Puts broken bytes into every place of a 1.0 request where fields may stand.
fn everywhere_v1(broken: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let labels = [label("__replica__", "r1"), label("cluster", "c1")].concat();
    let inside = |part: Vec<u8>| series(&[labels.clone(), part]);
    vec![
        ("WriteRequest", [&ha_series("c1", "r1"), broken].concat()),
        ("MetricMetadata", field(3, broken)),
        ("TimeSeries", inside(broken.to_vec())),
        ("Label", inside(field(1, broken))),
        ("Sample", inside(field(2, broken))),
        ("Exemplar", inside(field(3, broken))),
        ("Exemplar.labels", inside(field(3, &field(1, broken)))),
        ("Histogram", inside(field(4, broken))),
        (
            "Histogram.negative_spans",
            inside(field(4, &field(8, broken))),
        ),
    ]
}

fn everywhere_v2(broken: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let inside =
        |part: Vec<u8>| [usual_symbols(), series_v2(&[refs(&[3, 4, 5, 6]), part])].concat();
    vec![
        ("Request", [&usual_symbols(), broken].concat()),
        ("TimeSeries", inside(broken.to_vec())),
        ("Sample", inside(field(2, broken))),
        ("Histogram", inside(field(3, broken))),
        (
            "Histogram.positive_spans",
            inside(field(3, &field(11, broken))),
        ),
        ("Exemplar", inside(field(4, broken))),
        ("Metadata", inside(field(5, broken))),
    ]
}

fn everywhere(broken: &[u8], is_expected: impl Fn(Problem) -> bool) {
    let v1 = everywhere_v1(broken)
        .into_iter()
        .map(|case| (Version::V1, case));
    let v2 = everywhere_v2(broken)
        .into_iter()
        .map(|case| (Version::V2, case));
    for (version, (place, request)) in v1.chain(v2) {
        let error = refused(version, &request);
        assert!(is_expected(error.problem), "{place}: {error}");
        assert!(error.field.starts_with(place), "{place}: {error}");
        assert!(error.offset <= request.len(), "{place}: {error}");
    }
}

#[test]
fn field_number_0() {
    for wire_type in [0, 1, 2, 5] {
        everywhere(&[wire_type, 0, 0, 0, 0, 0, 0, 0, 0], |problem| {
            problem == Problem::FieldNumberZero
        });
    }
    everywhere(&varint(1 << 32), |problem| {
        matches!(problem, Problem::KeyTooLarge { .. })
    });
}

#[test]
fn groups_and_unassigned_wire_types() {
    for wire_type in [3, 4, 6, 7] {
        for field in [50, 1000] {
            everywhere(&varint(field << 3 | u64::from(wire_type)), |problem| {
                problem == Problem::UnsupportedWireType { wire_type }
            });
        }
    }
}

#[test]
fn endless_varints() {
    let eleven = [&varint(100 << 3)[..], &[0xff; 10], &[0x01]].concat();
    everywhere(&eleven, |problem| problem == Problem::VarintTooLong);
    let beyond_64_bits = [&varint(100 << 3)[..], &[0xff; 9], &[0x02]].concat();
    everywhere(&beyond_64_bits, |problem| problem == Problem::VarintTooLong);
    let key = [0x80; 11];
    everywhere(&key, |problem| problem == Problem::VarintTooLong);
}

#[test]
fn lengths_beyond_what_remains() {
    for length in [1, 100, u64::from(u32::MAX), u64::MAX >> 1, u64::MAX] {
        let broken = [varint(100 << 3 | 2), varint(length)].concat();
        everywhere(&broken, |problem| {
            problem == Problem::LengthBeyondEnd { length, left: 0 }
        });
    }
    everywhere(&[0xa1, 0x06, 1, 2, 3], |problem| {
        problem == Problem::Truncated
    });
    everywhere(&[0xa5, 0x06, 1, 2, 3], |problem| {
        problem == Problem::Truncated
    });
    everywhere(&[0xa0, 0x06], |problem| problem == Problem::Truncated);
    everywhere(&[0xa0], |problem| problem == Problem::Truncated);
}

#[test]
fn a_nested_length_must_fit_its_message() {
    // The label claims one byte more than its series has; the request has it.
    let mut request = [series(&[label("a", "b")]), series(&[])].concat();
    request[3] += 1;
    assert!(matches!(
        refused(Version::V1, &request).problem,
        Problem::LengthBeyondEnd { length: 7, left: 6 }
    ));
    // A series that ends within its last label; the following bytes would complete it.
    let whole = series(&[label("cluster", "c1"), label("__replica__", "r1")]);
    for cut in 1..18 {
        let mut request = [&whole[..], &series(&[]).repeat(100)].concat();
        request[1] -= cut;
        refused(Version::V1, &request);
    }
    let request = &ha_series("c1", "r1");
    for end in 1..request.len() {
        refused(Version::V1, &request[..end]);
    }
    let parts = [refs(&[3, 4, 5, 6]), sample(1000)];
    let request = [usual_symbols(), series_v2(&parts)].concat();
    for end in usual_symbols().len() + 1..request.len() {
        refused(Version::V2, &request[..end]);
    }
}

#[test]
fn known_fields_with_another_wire_type() {
    let wrong = |request: &[u8], version| {
        let error = refused(version, request);
        assert!(
            matches!(error.problem, Problem::WrongWireType { .. }),
            "{error}"
        );
    };
    wrong(&number(1, 5), Version::V1);
    wrong(&number(3, 5), Version::V1);
    for part in [number(1, 1), number(2, 1), double(3, 1.0), number(4, 1)] {
        wrong(&series(&[part]), Version::V1);
    }
    wrong(&series(&[field(1, &number(1, 1))]), Version::V1);
    wrong(&series(&[field(1, &number(2, 1))]), Version::V1);
    wrong(&series(&[field(2, &number(1, 1))]), Version::V1);
    wrong(&series(&[field(2, &double(2, 1.0))]), Version::V1);
    wrong(&series(&[field(4, &double(15, 1.0))]), Version::V1);
    wrong(&number(4, 5), Version::V2);
    wrong(&number(5, 5), Version::V2);
    let request = |part: Vec<u8>| [usual_symbols(), series_v2(&[part])].concat();
    for part in [
        double(1, 1.0),
        number(2, 1),
        double(3, 1.0),
        number(4, 1),
        number(5, 1),
    ] {
        wrong(&request(part), Version::V2);
    }
    wrong(&request(field(5, &double(3, 1.0))), Version::V2);
    let error = refused(Version::V1, &series(&[field(4, &field(10, &[0; 9]))]));
    assert_eq!(error.problem, Problem::PackedLength { length: 9 });
}

#[test]
fn references() {
    let request = |part: Vec<u8>| [usual_symbols(), series_v2(&[part])].concat();
    let problem = |part: Vec<u8>| refused(Version::V2, &request(part)).problem;
    let out_of_range = |reference| Problem::ReferenceOutOfRange {
        reference,
        symbols: 9,
    };
    assert_eq!(problem(refs(&[1, 9])), out_of_range(9));
    assert_eq!(problem(refs(&[9, 1])), out_of_range(9));
    assert_eq!(
        problem(refs(&[3, u64::from(u32::MAX)])),
        out_of_range(u32::MAX)
    );
    assert_eq!(
        problem([number(1, 1), number(1, 9)].concat()),
        out_of_range(9)
    );
    let too_large = |reference| Problem::ReferenceTooLarge { reference };
    assert_eq!(problem(refs(&[1, 1 << 32])), too_large(1 << 32));
    assert_eq!(
        problem([number(1, 1 << 32), number(1, 1)].concat()),
        too_large(1 << 32)
    );
    assert_eq!(problem(refs(&[1])), Problem::OddReferences);
    assert_eq!(problem(refs(&[1, 2, 3])), Problem::OddReferences);
    assert_eq!(
        problem([refs(&[1, 2]), refs(&[3])].concat()),
        Problem::OddReferences
    );
    assert_eq!(problem(number(1, 1)), Problem::OddReferences);
    // Of exemplars and metadata too.
    assert_eq!(problem(field(4, &refs(&[1, 9]))), out_of_range(9));
    assert_eq!(problem(field(4, &refs(&[1]))), Problem::OddReferences);
    assert_eq!(problem(field(5, &number(3, 9))), out_of_range(9));
    assert_eq!(problem(field(5, &number(4, 9))), out_of_range(9));
    assert_eq!(problem(field(5, &number(4, 1 << 40))), too_large(1 << 40));
}

#[test]
fn symbol_tables() {
    let no_symbols = series_v2(&[refs(&[]), sample(1)]);
    assert_eq!(
        refused(Version::V2, &no_symbols).problem,
        Problem::NoSymbols
    );
    let not_empty = symbols(&["a", ""]);
    assert_eq!(
        refused(Version::V2, &not_empty).problem,
        Problem::FirstSymbolNotEmpty
    );
}

/// A receiver that reads both, as Mimir's message has both, would store series that were not
/// deduplicated.
#[test]
fn series_of_the_other_version() {
    let (one, two) = (ha_series("c1", "r1"), series_v2(&[refs(&[3, 4, 5, 6])]));
    for (version, request, found, expected, offset) in [
        (Version::V1, two.clone(), "2.0", "1.0", 0),
        (
            Version::V1,
            [&one[..], &two].concat(),
            "2.0",
            "1.0",
            one.len(),
        ),
        (
            Version::V1,
            [one.clone(), number(5, 1)].concat(),
            "2.0",
            "1.0",
            one.len(),
        ),
        (Version::V2, one.clone(), "1.0", "2.0", 0),
        (
            Version::V2,
            [&usual_symbols()[..], &two, &one].concat(),
            "1.0",
            "2.0",
            usual_symbols().len() + two.len(),
        ),
    ] {
        let error = refused(version, &request);
        assert_eq!(error.problem, Problem::OtherVersion { found, expected });
        assert_eq!(error.offset, offset, "{error}");
    }
    let text = refused(Version::V1, &two).to_string();
    assert_eq!(
        text,
        "invalid remote write request: a series of remote write 2.0, while the request says 1.0, in \
         WriteRequest at byte 0 of the decompressed request"
    );
    // Symbols alone are no samples.
    assert!(scan(Version::V1, &usual_symbols()).is_ok());
}

#[test]
fn the_error_names_the_series() {
    let good = ha_series("c1", "r1");
    let bad = series(&[label("cluster", "c1"), field(2, &[0x08, 1])]);
    let error = refused(Version::V1, &[good.clone(), good.clone(), bad].concat());
    assert_eq!(error.series, Some(2));
    assert!(error.offset > 2 * good.len());
    assert_eq!(error.field, "Sample.value");
}

#[test]
fn too_many_groups() {
    let mut request = Vec::new();
    for number in 0..70_000 {
        request.extend(ha_series(&number.to_string(), "r"));
    }
    let mut asked = 0;
    let judge = &mut |_: &str, _: &str| {
        asked += 1;
        Verdict::Drop
    };
    let error = remote_write::scan(
        Version::V1,
        &mut request,
        Some(EACH),
        &mut Scratch::default(),
        judge,
    )
    .unwrap_err();
    assert_eq!(error.problem, Problem::TooManyGroups { limit: 65_536 });
    assert_eq!((asked, error.series), (65_536, Some(65_536)));
}

#[test]
fn long_symbols_are_not_copied_without_bound() {
    // 300 series of a few bytes, each a group of a name of 10,000 bytes: 3 MB out of 26 KB.
    let long = "x".repeat(10_000);
    let names: Vec<String> = (0..300).map(|number| number.to_string()).collect();
    let mut request = symbols(&["", "cluster", "__replica__", &long]);
    for name in &names {
        request.extend(field(4, name.as_bytes()));
    }
    for number in 0..300 {
        request.extend(series_v2(&[refs(&[1, 3, 2, 4 + number])]));
    }
    let error = scan(Version::V2, &request).unwrap_err();
    assert!(
        matches!(error.problem, Problem::TooManyGroups { .. }),
        "{error}"
    );
}

#[test]
fn scratch_stays_about_as_small_as_the_request() {
    // A million symbols of as few bytes as there may be of so many.
    let mut request = vec![0x22, 0];
    request.extend(b"\x22\x02ab".repeat(1_000_000));
    let length = request.len();
    let mut scratch = Scratch::default();
    let judge = &mut |_: &str, _: &str| Verdict::Keep;
    remote_write::scan(Version::V2, &mut request, Some(EACH), &mut scratch, judge).unwrap();
    assert!(
        scratch.allocated_bytes() < 5 * length,
        "{}",
        scratch.allocated_bytes()
    );
    scratch.trim(1 << 20);
    assert!(scratch.allocated_bytes() < 1 << 20);
}

#[test]
fn nothing_but_tiny_fields() {
    // What costs work for each field, 2 MB of it after an honest beginning.
    let v1 = ha_series("c", "r");
    let v2 = [usual_symbols(), series_v2(&[refs(&[1, 3, 2, 4])])].concat();
    let tiny_v1: [&[u8]; 7] = [
        b"\x0a\x00",
        b"\x0a\x02\x0a\x00",
        b"\x0a\x04\x12\x00\x1a\x00",
        b"\x0a\x06\x12\x00\x12\x00\x12\x00",
        b"\x1a\x00",
        b"\x3a\x00",
        b"\x38\x00",
    ];
    let tiny_v2: [&[u8]; 5] = [
        b"\x2a\x00",
        b"\x2a\x02\x12\x00",
        b"\x2a\x04\x12\x00\x22\x00",
        b"\x22\x00",
        b"\x3a\x00",
    ];
    let all = tiny_v1.map(|tiny| (Version::V1, &v1, tiny)).into_iter();
    for (version, begin, tiny) in all.chain(tiny_v2.map(|tiny| (Version::V2, &v2, tiny))) {
        let request = [&begin[..], &tiny.repeat(2_000_000 / tiny.len())].concat();
        let error = refused(version, &request);
        assert!(
            matches!(error.problem, Problem::FieldsTooSmall { .. }),
            "{version:?}, {tiny:?}: {error}"
        );
        // As soon as it is clear, not after all of it.
        assert!(error.offset < 200_000, "{version:?}, {tiny:?}: {error}");
        // A few have never been a problem.
        scan(version, &[&begin[..], &tiny.repeat(4_000)].concat()).unwrap();
    }
    // All in one series.
    for field in [&b"\x1a\x00"[..], b"\x38\x00"] {
        let request = series(&[field.repeat(1_000_000)]);
        let error = refused(Version::V1, &request);
        assert!(
            matches!(error.problem, Problem::FieldsTooSmall { .. }),
            "{error}"
        );
    }
}

#[test]
fn the_smallest_honest_series_are_not_too_small() {
    // One label of one byte each, a value of 0 that is left out, and today's time.
    let bare = |after: u32| number(2, 1_700_000_000_000 + u64::from(after));
    let mut v1 = Vec::new();
    let mut v2 = symbols(&["", "a", "b"]);
    for index in 0..100_000 {
        v1.extend(series(&[label("a", "b"), field(2, &bare(index))]));
        v2.extend(series_v2(&[refs(&[1, 2]), field(2, &bare(index))]));
    }
    // A table of nothing but numbers, and metadata as short as it gets.
    let mut table = symbols(&[""]);
    for symbol in 0..500_000 {
        table.extend(field(4, symbol.to_string().as_bytes()));
    }
    let metadata = field(3, &[number(1, 1), field(2, b"m")].concat()).repeat(100_000);
    for (version, request) in [
        (Version::V1, v1),
        (Version::V2, v2),
        (Version::V2, table),
        (Version::V1, metadata),
    ] {
        scan(version, &request).unwrap();
    }
}
