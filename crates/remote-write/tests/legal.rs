//! Legal oddities: requests that no known sender writes and every receiver must take.

mod wire;

use remote_write::{Counts, Verdict, Version};

use wire::{
    double, field, ha_series, judged, label, number, pairs, refs, sample, scan, series, series_v2,
    stripped_series, symbols, usual_symbols, varint,
};

#[expect(clippy::unwrap_used, reason = "a test of what must work")]
fn v1(request: &[u8], expected: &[u8], groups: &[(&str, &str)]) {
    let (found, output) = scan(Version::V1, request).unwrap();
    assert_eq!(pairs(&found), groups);
    assert_eq!(output, expected);
    assert_eq!(found.modified, request != expected);
}

#[expect(clippy::unwrap_used, reason = "a test of what must work")]
fn v2(request: &[u8], expected: &[u8], groups: &[(&str, &str)]) {
    let (found, output) = scan(Version::V2, request).unwrap();
    assert_eq!(pairs(&found), groups);
    assert_eq!(output, expected);
}

#[test]
fn a_request_of_nothing() {
    for version in [Version::V1, Version::V2] {
        let (found, output) = scan(version, &[]).unwrap();
        assert!(output.is_empty() && !found.modified);
        assert_eq!((found.total(), found.kept_series()), (Counts::default(), 0));
    }
    // Symbols without series.
    v2(&usual_symbols(), &usual_symbols(), &[]);
    // A series without anything.
    v1(&series(&[]), &series(&[]), &[]);
}

#[test]
fn one_series_is_stripped() {
    v1(
        &ha_series("c1", "r1"),
        &stripped_series("c1"),
        &[("c1", "r1")],
    );
    let sent = [
        usual_symbols(),
        series_v2(&[refs(&[1, 2, 3, 4, 5, 6]), sample(7)]),
    ]
    .concat();
    let kept = [
        usual_symbols(),
        series_v2(&[refs(&[1, 2, 5, 6]), sample(7)]),
    ]
    .concat();
    v2(&sent, &kept, &[("c1", "r1")]);
}

#[test]
fn metadata_before_and_between_series() {
    let metadata = field(
        3,
        &[number(1, 2), field(2, b"up"), field(4, b"help")].concat(),
    );
    let sent = [
        &metadata[..],
        &ha_series("c1", "r1"),
        &metadata,
        &ha_series("c1", "r1"),
    ]
    .concat();
    let kept = [
        &metadata[..],
        &stripped_series("c1"),
        &metadata,
        &stripped_series("c1"),
    ]
    .concat();
    v1(&sent, &kept, &[("c1", "r1")]);
    let (found, output) = judged(Version::V1, &sent, &mut |_, _| Verdict::Drop).unwrap();
    assert_eq!(output, [&metadata[..], &metadata].concat());
    assert_eq!(
        (found.metadata, found.kept_series(), found.dropped().series),
        (2, 0, 2)
    );
}

#[test]
fn samples_before_labels_and_labels_between_samples() {
    let (replica, cluster) = (label("__replica__", "r1"), label("cluster", "c1"));
    let sent = series(&[sample(1), replica, sample(2), cluster.clone(), sample(3)]);
    let kept = series(&[sample(1), sample(2), cluster, sample(3)]);
    v1(&sent, &kept, &[("c1", "r1")]);
    let symbols = usual_symbols();
    let sent = [
        symbols.clone(),
        series_v2(&[sample(1), refs(&[5, 6, 3, 4])]),
    ]
    .concat();
    let kept = [symbols, series_v2(&[sample(1), refs(&[5, 6])])].concat();
    v2(&sent, &kept, &[("c1", "r1")]);
}

#[test]
fn series_before_symbols() {
    // Stripping moves the symbols that the second series still refers to.
    let first = |references: &[u64]| series_v2(&[refs(references), sample(1)]);
    let sent = [first(&[3, 4, 5, 6]), usual_symbols(), first(&[5, 8, 3, 7])].concat();
    let kept = [first(&[5, 6]), usual_symbols(), first(&[5, 8])].concat();
    v2(&sent, &kept, &[("c1", "r1"), ("c2", "r2")]);
}

#[test]
fn a_label_with_value_before_name_or_without_one() {
    let swapped = field(1, &[field(2, b"r1"), field(1, b"__replica__")].concat());
    let cluster = label("cluster", "c1");
    v1(
        &series(&[swapped, cluster.clone()]),
        &series(std::slice::from_ref(&cluster)),
        &[("c1", "r1")],
    );
    // No name, no value, neither: kept as they are.
    let odd = [
        field(1, &field(2, b"x")),
        field(1, &field(1, b"__replica__")),
        field(1, &[]),
    ];
    let sent = series(&[odd.concat(), cluster.clone()]);
    v1(&sent, &sent, &[]);
    let sent = series(&[odd.concat(), cluster.clone(), label("__replica__", "r1")]);
    let kept = series(&[odd[0].clone(), odd[2].clone(), cluster]);
    v1(&sent, &kept, &[("c1", "r1")]);
}

#[test]
fn an_empty_value_is_no_value() {
    let sent = ha_series("", "r1");
    v1(&sent, &sent, &[]);
    let sent = ha_series("c1", "");
    v1(&sent, &sent, &[]);
    for references in [[3, 0, 5, 6], [3, 4, 5, 0]] {
        let sent = [usual_symbols(), series_v2(&[refs(&references)])].concat();
        v2(&sent, &sent, &[]);
    }
}

#[test]
fn the_last_of_repeated_fields_wins() {
    let twice = [
        field(1, b"x"),
        field(2, b"y"),
        field(1, b"__replica__"),
        field(2, b"r2"),
    ];
    let sent = series(&[field(1, &twice.concat()), label("cluster", "c1")]);
    v1(&sent, &series(&[label("cluster", "c1")]), &[("c1", "r2")]);
    let timestamps = field(2, &[number(2, 5), double(1, 0.0), number(2, 9)].concat());
    let sent = series(&[
        label("__replica__", "r1"),
        label("cluster", "c1"),
        timestamps,
    ]);
    let (found, _) = scan(Version::V1, &sent).unwrap();
    assert_eq!(found.groups[0].earliest_ms, Some(9));
}

#[test]
fn the_last_of_repeated_labels_wins_and_all_replicas_go() {
    let replicas = [
        label("__replica__", "r1"),
        label("a", "b"),
        label("__replica__", "r2"),
    ];
    let clusters = [label("cluster", "c1"), label("cluster", "c2")];
    let sent = series(&[replicas.concat(), clusters.concat(), sample(1)]);
    let kept = series(&[label("a", "b"), clusters.concat(), sample(1)]);
    v1(&sent, &kept, &[("c2", "r2")]);
    let sent = [
        usual_symbols(),
        series_v2(&[refs(&[3, 4, 5, 6, 3, 7, 5, 8, 1, 2])]),
    ]
    .concat();
    let kept = [usual_symbols(), series_v2(&[refs(&[5, 6, 5, 8, 1, 2])])].concat();
    v2(&sent, &kept, &[("c2", "r2")]);
}

#[test]
fn equal_symbols() {
    let symbols = symbols(&[
        "",
        "cluster",
        "c",
        "__replica__",
        "r",
        "__replica__",
        "c",
        "cluster",
    ]);
    let sent = |references: &[&[u64]]| {
        let series = references
            .iter()
            .map(|references| series_v2(&[refs(references)]));
        [symbols.clone(), series.collect::<Vec<_>>().concat()].concat()
    };
    // Different references, one group.
    let request = sent(&[&[3, 4, 1, 2], &[5, 4, 7, 6], &[3, 4, 5, 4, 1, 6]]);
    v2(&request, &sent(&[&[1, 2], &[7, 6], &[1, 6]]), &[("c", "r")]);
}

#[test]
fn references_that_are_not_in_one_packed_run() {
    let request = |parts: &[Vec<u8>]| [usual_symbols(), series_v2(parts)].concat();
    let loose: Vec<u8> = [3, 4, 5, 6]
        .iter()
        .flat_map(|&reference| number(1, reference))
        .collect();
    let kept = request(&[refs(&[5, 6]), sample(1)]);
    v2(&request(&[loose, sample(1)]), &kept, &[("c1", "r1")]);
    // A pair split by the border of two runs, and by another field.
    let split = [refs(&[3]), sample(1), refs(&[4, 5, 6])];
    v2(
        &request(&split),
        &request(&[refs(&[5, 6]), sample(1)]),
        &[("c1", "r1")],
    );
    let mixed = [refs(&[5, 6, 3]), number(1, 4), refs(&[])];
    v2(
        &request(&mixed),
        &request(&[refs(&[5, 6])]),
        &[("c1", "r1")],
    );
    let only = [number(1, 3), number(1, 4), sample(1), refs(&[3, 7, 5, 6])];
    v2(
        &request(&only),
        &request(&[refs(&[5, 6]), sample(1)]),
        &[("c1", "r2")],
    );
}

#[test]
fn numbers_longer_than_they_have_to_be() {
    let mut long = vec![0x8a, 0x80, 0x00];
    let content = [label("__replica__", "r1"), label("cluster", "c1")].concat();
    long.extend([content.len() as u8 | 0x80, 0x80, 0x00]);
    long.extend(&content);
    v1(&long, &series(&[label("cluster", "c1")]), &[("c1", "r1")]);
    let run = field(1, &[0x83, 0x00, 0x84, 0x80, 0x00, 5, 6]);
    let sent = [usual_symbols(), series_v2(&[run])].concat();
    v2(
        &sent,
        &[usual_symbols(), series_v2(&[refs(&[5, 6])])].concat(),
        &[("c1", "r1")],
    );
}

#[test]
fn long_references_in_a_large_table() {
    // The fast reader of such tables looks for the label names as one byte.
    let mut table = usual_symbols();
    for number in 0..200 {
        table.extend(field(4, format!("value-{number}").as_bytes()));
    }
    let padding = field(100, &[0; 200]);
    let request = |run: Vec<u8>| [&table[..], &series_v2(&[run, sample(1)]), &padding].concat();
    let kept = request(refs(&[5, 6, 1, 140]));
    v2(
        &request(refs(&[3, 4, 5, 6, 1, 140])),
        &kept,
        &[("c1", "r1")],
    );
    v2(
        &request(field(1, &[0x83, 0x00, 4, 5, 6, 1, 140, 1])),
        &kept,
        &[("c1", "r1")],
    );
    let long_cluster = [0x85, 0x00, 6, 1, 140, 1];
    let sent = request(field(1, &[&[3, 4], &long_cluster[..]].concat()));
    v2(&sent, &request(field(1, &long_cluster)), &[("c1", "r1")]);
}

#[test]
fn negative_timestamps_take_ten_bytes() {
    let labels = [label("__replica__", "r1"), label("cluster", "c1")].concat();
    let sent = series(&[labels.clone(), sample(3), sample(-7), sample(5)]);
    let (found, _) = scan(Version::V1, &sent).unwrap();
    assert_eq!(found.groups[0].earliest_ms, Some(-7));
    assert_eq!(found.groups[0].counts.samples, 3);
    // No timestamp is 0, no sample is none.
    let (found, _) = scan(Version::V1, &series(&[labels.clone(), field(2, &[])])).unwrap();
    assert_eq!(found.groups[0].earliest_ms, Some(0));
    let (found, _) = scan(Version::V1, &series(&[labels])).unwrap();
    assert_eq!(found.groups[0].earliest_ms, None);
}

#[test]
fn floats_are_never_touched() {
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let sample = field(2, &[double(1, stale), number(2, 5)].concat());
    let labels = [label("__replica__", "r1"), label("cluster", "c1")];
    let sent = series(&[labels.concat(), sample.clone()]);
    v1(
        &sent,
        &series(&[labels[1].clone(), sample]),
        &[("c1", "r1")],
    );
}

#[test]
fn histograms_and_exemplars_have_each_others_numbers() {
    let content = number(15, 42);
    let labels = [label("__replica__", "r1"), label("cluster", "c1")].concat();
    let (found, _) = scan(
        Version::V1,
        &series(&[labels, field(4, &content), field(3, &[])]),
    )
    .unwrap();
    let counts = Counts {
        series: 1,
        samples: 0,
        histograms: 1,
        exemplars: 1,
    };
    assert_eq!(
        (found.groups[0].counts, found.groups[0].earliest_ms),
        (counts, Some(42))
    );
    // Exemplars before histograms, metadata, and the created timestamp of older senders.
    let metadata = field(5, &[number(1, 1), number(3, 2), number(4, 0)].concat());
    let exemplar = field(4, &[refs(&[1, 2]), double(2, 1.0), number(3, 1)].concat());
    let parts = [
        refs(&[3, 4, 5, 6]),
        exemplar,
        field(3, &content),
        metadata,
        number(6, 1),
    ];
    let (found, output) =
        scan(Version::V2, &[usual_symbols(), series_v2(&parts)].concat()).unwrap();
    assert_eq!(
        (found.groups[0].counts, found.groups[0].earliest_ms),
        (counts, Some(42))
    );
    let mut kept = parts;
    kept[0] = refs(&[5, 6]);
    assert_eq!(output, [usual_symbols(), series_v2(&kept)].concat());
}

#[test]
fn unknown_fields_stay() {
    let unknown = [
        number(99, 1),
        double(98, 2.0),
        field(97, b"?"),
        vec![0xb5, 0x06, 1, 2, 3, 4],
    ];
    let unknown = unknown.concat();
    let (replica, cluster) = (label("__replica__", "r1"), label("cluster", "c1"));
    let sent = [
        &unknown[..],
        &series(&[unknown.clone(), replica, unknown.clone(), cluster.clone()]),
    ];
    let kept = [
        &unknown[..],
        &series(&[unknown.clone(), unknown.clone(), cluster]),
    ];
    v1(&sent.concat(), &kept.concat(), &[("c1", "r1")]);
    let run = refs(&[3, 4, 5, 6]);
    let sent = [
        &unknown[..],
        &usual_symbols(),
        &series_v2(&[run, unknown.clone()]),
        &unknown,
    ];
    let kept = [
        &unknown[..],
        &usual_symbols(),
        &series_v2(&[refs(&[5, 6]), unknown.clone()]),
        &unknown,
    ];
    v2(&sent.concat(), &kept.concat(), &[("c1", "r1")]);
}

#[test]
fn lengths_shrink_by_a_byte() {
    // 130 bytes with the replica label, less than 128 without; and the run, likewise.
    for padding in 60..120 {
        let long = label("long", &"x".repeat(padding));
        let replica = label("__replica__", "r1");
        let sent = series(&[long.clone(), replica, label("cluster", "c1")]);
        v1(
            &sent,
            &series(&[long, label("cluster", "c1")]),
            &[("c1", "r1")],
        );
    }
    for pairs in 55..70 {
        let more: Vec<u64> = [1, 2].repeat(pairs);
        let sent = series_v2(&[refs(&[&more[..], &[3, 4, 5, 6]].concat()), sample(1)]);
        let kept = series_v2(&[refs(&[&more[..], &[5, 6]].concat()), sample(1)]);
        let request = |series: Vec<u8>| [usual_symbols(), series].concat();
        v2(&request(sent), &request(kept), &[("c1", "r1")]);
    }
}

#[test]
fn large_tables_and_long_runs() {
    let mut table = usual_symbols();
    for number in 0..40_000 {
        table.extend(field(4, format!("value-{number}").as_bytes()));
    }
    let mut sent = table.clone();
    let mut kept = table;
    for reference in [1, 127, 128, 16_383, 16_384, 40_000, 40_008] {
        let more = [1, reference].repeat(20);
        let run = |labels: &[u64]| refs(&[&more[..], labels].concat());
        sent.extend(series_v2(&[run(&[3, 4, 5, 6]), sample(1)]));
        kept.extend(series_v2(&[run(&[5, 6]), sample(1)]));
    }
    v2(&sent, &kept, &[("c1", "r1")]);
    let error = scan(
        Version::V2,
        &[sent, series_v2(&[refs(&[1, 40_009])])].concat(),
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("reference 40009 out of range"),
        "{error}"
    );
    assert_eq!(error.series, Some(7));
    assert_eq!(varint(300), [0xac, 0x02]);
}
