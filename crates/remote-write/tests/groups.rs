//! Groups, verdicts and counts: what the caller decides on, and what becomes of it.

mod wire;

use remote_write::{AGE_BOUNDS_S, OneLabel, Problem, ScanError, Scratch, Verdict, Version};

use wire::{
    field, ha_series, judged, label, refs, sample, series, series_v2, stripped_series, symbols,
    usual_symbols,
};

#[test]
fn several_pairs_in_one_batch() {
    let plain = series(&[label("__name__", "up"), label("__replica__", "r1")]);
    let sent = [
        ha_series("c1", "r1"),
        ha_series("c2", "r1"),
        plain.clone(),
        ha_series("c1", "r1"),
    ];
    let verdict = |cluster: &str| match cluster {
        "c1" => Verdict::Drop,
        _ => Verdict::Keep,
    };
    let mut asked = Vec::new();
    let (found, output) = judged(Version::V1, &sent.concat(), &mut |cluster, replica| {
        asked.push((cluster.to_owned(), replica.to_owned()));
        verdict(cluster)
    })
    .unwrap();
    // Once for each pair, in the order of their first series.
    assert_eq!(
        asked,
        [("c1".into(), "r1".into()), ("c2".into(), "r1".into())]
    );
    assert_eq!(output, [stripped_series("c2"), plain].concat());
    assert_eq!(
        (
            found.kept_series(),
            found.dropped().series,
            found.other.series
        ),
        (2, 2, 1)
    );
    assert_eq!(found.total().samples, 3);
}

#[test]
fn later_decisions() {
    let metadata = field(3, &field(2, b"up"));
    let plain = series(&[label("job", "x")]);
    let sent = [
        ha_series("c1", "r1"),
        ha_series("c1", "r1"),
        ha_series("c2", "r1"),
        metadata.clone(),
        ha_series("c1", "r1"),
        plain.clone(),
        ha_series("c3", "r1"),
    ];
    let judge = &mut |cluster: &str, _: &str| match cluster {
        "c3" => Verdict::Keep,
        _ => Verdict::Later,
    };
    let (mut found, mut output) = judged(Version::V1, &sent.concat(), judge).unwrap();
    let [c1, c2, c3] = ["c1", "c2", "c3"].map(stripped_series);
    let all = [&c1[..], &c1, &c2, &metadata, &c1, &plain, &c3];
    assert_eq!(output, all.concat());
    // Kept groups and unknown indexes are not affected.
    found.discard(&mut output, &[2, 17]);
    assert_eq!(output, all.concat());
    found.discard(&mut output, &[0]);
    assert_eq!(output, [&c2[..], &metadata, &plain, &c3].concat());
    assert_eq!((found.kept_series(), found.dropped().series), (3, 3));
    found.discard(&mut output, &[1, 0]);
    assert_eq!(output, [&metadata[..], &plain, &c3].concat());
    assert_eq!((found.length, found.kept_series()), (output.len(), 2));
}

#[test]
fn without_names_nothing_changes() {
    let sent = ha_series("c1", "r1");
    let mut output = sent.clone();
    let judge = &mut |_: &str, _: &str| Verdict::Drop;
    let mut scratch = Scratch::default();
    let found = remote_write::scan(Version::V1, &mut output, None, &mut scratch, judge).unwrap();
    assert_eq!(
        (output, found.modified, found.groups.len()),
        (sent, false, 0)
    );
    assert_eq!((found.other.series, found.other.samples), (1, 1));
}

#[test]
fn series_whose_pair_is_not_utf_8_are_left_out_and_the_others_are_not() {
    let bytes =
        |name: &str, value: &[u8]| field(1, &[field(1, name.as_bytes()), field(2, value)].concat());
    let pair = |cluster: &[u8], replica: &[u8]| {
        series(&[
            label(
                "__name__",
                "a_name_that_makes_the_series_long_enough_for_the_fast_way_to_see_it",
            ),
            label(
                "job",
                "a_value_that_makes_the_series_long_enough_for_the_fast_way_to_see_it",
            ),
            bytes("cluster", cluster),
            bytes("__replica__", replica),
            sample(5),
        ])
    };
    // With replacement characters, the name would be that of another group.
    let repaired = pair("\u{fffd}".as_bytes(), b"r1");
    let sent = [
        ha_series("c1", "r1"),
        pair(b"\xff", b"r1"),
        pair(b"\xff", b"r1"),
        repaired.clone(),
        pair(b"c1", b"\xc3"),
        ha_series("c1", "r1"),
        // Others are not looked at.
        series(&[bytes("job", b"\xff")]),
    ];
    let mut asked = Vec::new();
    let (found, output) = judged(Version::V1, &sent.concat(), &mut |cluster, _| {
        asked.push(cluster.to_owned());
        match cluster {
            "c1" => Verdict::Keep,
            _ => Verdict::Drop,
        }
    })
    .unwrap();
    assert_eq!(asked, ["c1", "\u{fffd}"]);
    let kept = stripped_series("c1");
    assert_eq!(output, [&kept[..], &kept, &sent[6]].concat());
    let of: Vec<_> = found
        .groups
        .iter()
        .map(|group| (&*group.cluster, group.counts.samples, group.problem))
        .collect();
    let problem = ScanError {
        problem: Problem::NotUtf8 { label: "cluster" },
        field: "TimeSeries",
        series: Some(1),
        offset: sent[0].len(),
    };
    assert_eq!(
        of,
        [
            ("c1", 2, None),
            ("", 3, Some(problem)),
            ("\u{fffd}", 1, None)
        ]
    );
    assert_eq!(found.total().samples, 6);
    assert_eq!(found.dropped().samples, 4);
}

#[test]
fn a_2_0_pair_that_is_not_utf_8_is_left_out() {
    let symbols: Vec<u8> = [
        &b""[..],
        b"cluster",
        b"__replica__",
        b"r1",
        b"\xfe",
        b"c1",
        b"\xfd",
    ]
    .iter()
    .flat_map(|text| field(4, text))
    .collect();
    let of = |cluster: u64| series_v2(&[refs(&[1, cluster, 2, 3]), sample(7)]);
    let sent = [symbols.clone(), of(4), of(4), of(5), of(6), of(4), of(5)].concat();
    let (found, output) = judged(Version::V2, &sent, &mut |_, _| Verdict::Keep).unwrap();
    let kept = series_v2(&[refs(&[1, 5]), sample(7)]);
    assert_eq!(output, [&symbols[..], &kept, &kept].concat());
    assert_eq!(found.groups.len(), 2);
    assert_eq!(found.groups[0].counts.samples, 4);
    assert!(
        found.groups[0]
            .problem
            .is_some_and(|problem| problem.series == Some(0))
    );
}

#[test]
fn samples_of_one_label_are_counted_apart() {
    let sent = [
        series(&[label("cluster", "c"), sample(1), sample(2)]),
        series(&[label("__replica__", "r"), sample(1)]),
        series(&[label("__replica__", "r"), label("cluster", ""), sample(1)]),
        series(&[label("job", "j"), sample(1)]),
        ha_series("c1", "r1"),
    ];
    let (found, _) = judged(Version::V1, &sent.concat(), &mut |_, _| Verdict::Keep).unwrap();
    let expected = OneLabel {
        cluster: 2,
        replica: 2,
    };
    assert_eq!((found.one_label, found.other.samples), (expected, 5));
}

#[test]
fn ages_are_those_of_what_is_not_left_out() {
    let at = |cluster: &str, seconds: i64| {
        series(&[
            label("__replica__", "r1"),
            label("cluster", cluster),
            sample(seconds * 1000),
        ])
    };
    let sent = [
        at("kept", 100),
        at("dropped", 99),
        at("kept", 10),
        at("later", 130),
        series(&[label("job", "x"), sample(60_000), sample(101_000)]),
    ];
    let mut scratch = Scratch::default();
    scratch.now_ms = 101_000;
    let judge = &mut |cluster: &str, _: &str| match cluster {
        "dropped" => Verdict::Drop,
        "later" => Verdict::Later,
        _ => Verdict::Keep,
    };
    let mut output = sent.concat();
    let found = remote_write::scan(
        Version::V1,
        &mut output,
        Some(wire::EACH),
        &mut scratch,
        judge,
    );
    let ages = found.unwrap().ages;
    let mut expected = vec![0; AGE_BOUNDS_S.len() + 1];
    // -29 s, 0 s and 1 s; 41 s; 91 s.
    (expected[1], expected[3], expected[4], expected[5]) = (1, 2, 1, 1);
    assert_eq!(ages.counts(), expected);
    assert_eq!(ages.sum_ms(), 1_000 + 91_000 - 29_000 + 41_000);
    assert_eq!(ages.latest_ms(), Some(130_000));
}

/// Short 2.0 series of two groups in turn have the same time.
#[test]
fn each_group_has_its_own_latest_sample() {
    let names: Vec<String> = (0..150).map(|number| format!("symbol-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let of = |cluster, timestamp| {
        series_v2(&[refs(&[1, 2, 3, 4, 5, cluster, 100, 140]), sample(timestamp)])
    };
    let sent = [
        usual_symbols(),
        symbols(&names),
        of(6, 1_000),
        of(8, 1_000),
        of(6, 2_000),
        of(8, 2_000),
        // The fast readers look beyond a series.
        series_v2(&[refs(&[1, 2]), field(9, &[7; 200])]),
    ];
    let keep = &mut |_: &str, _: &str| Verdict::Keep;
    let (found, _) = judged(Version::V2, &sent.concat(), keep).unwrap();
    let times = |group: &remote_write::Group| (group.earliest_ms, group.latest_ms);
    let times: Vec<_> = found.groups.iter().map(times).collect();
    assert_eq!(times, [(Some(1_000), Some(2_000)); 2]);
}

/// Of series that are alike, and then of one that is not.
#[test]
fn the_first_unlike_series_has_a_later_sample() {
    let names: Vec<String> = (0..150).map(|number| format!("symbol-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let alike = |time| series_v2(&[refs(&[1, 2, 3, 4, 5, 6, 100, 140]), sample(time)]);
    let another = series_v2(&[refs(&[1, 2, 3, 4, 5, 6]), sample(2_000)]);
    let v2 = [
        [usual_symbols(), symbols(&names)].concat(),
        [alike(1_000), alike(1_000), alike(1_000)].concat(),
        another,
        field(9, &[7; 200]),
    ];
    let labels = |more: &[Vec<u8>]| {
        let long = "x".repeat(120);
        let own = [label("__replica__", "r1"), label("cluster", "c1")];
        [&own[..], &[label("job", &long)], more].concat().concat()
    };
    let alike = field(1, &[labels(&[]), sample(1_000)].concat());
    let twice = field(1, &[labels(&[]), sample(2_000), sample(1_000)].concat());
    let v1 = [
        [&alike[..], &alike, &alike].concat(),
        twice,
        field(9, &[7; 200]),
    ];
    for (version, sent) in [(Version::V1, v1.concat()), (Version::V2, v2.concat())] {
        let keep = &mut |_: &str, _: &str| Verdict::Keep;
        let (found, _) = judged(version, &sent, keep).unwrap();
        let latest: Vec<_> = found.groups.iter().map(|group| group.latest_ms).collect();
        assert_eq!(latest, [Some(2_000)], "{version:?}");
    }
}
