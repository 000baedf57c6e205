//! Requests whose first series decides for all of it.

mod wire;

use remote_write::{Mixed, OneLabel, Verdict, Version};

use wire::{
    FIRST, field, ha_series, judged_by, label, pairs, refs, sample, series, series_v2,
    stripped_series, symbols, usual_symbols,
};

const PADDING: &str = "a value that makes the series long enough to be read the fast way, 64 bytes";

/// A series of these labels and one sample, in its short form and in a longer one.
fn of_both_lengths(labels: &[(&str, &str)]) -> Vec<u8> {
    let own = || labels.iter().map(|(name, value)| label(name, value));
    let short: Vec<_> = own().chain([sample(7)]).collect();
    let padding = [label("job", PADDING), label("more", PADDING)];
    let long: Vec<_> = padding
        .into_iter()
        .chain(own())
        .chain([sample(7)])
        .collect();
    [series(&short), series(&long)].concat()
}

fn mixed(cluster: &str, replica: &str) -> Option<Mixed> {
    Some(Mixed {
        cluster: cluster.to_owned(),
        replica: replica.to_owned(),
    })
}

#[test]
fn all_series_share_the_verdict_on_the_first() {
    let others = [
        &[("cluster", "c1"), ("__replica__", "r2")][..],
        &[("cluster", "etcd"), ("__replica__", "r1")],
        &[("cluster", "c1")],
        &[("__replica__", "r1")],
        &[("cluster", ""), ("__replica__", "")],
        &[("job", "j")],
    ];
    let stripped: Vec<_> = others
        .iter()
        .map(|labels| {
            let left = labels.iter().filter(|(name, _)| *name != "__replica__");
            of_both_lengths(&left.copied().collect::<Vec<_>>())
        })
        .collect();
    let others: Vec<_> = others
        .iter()
        .map(|labels| of_both_lengths(labels))
        .collect();
    let sent = [ha_series("c1", "r1"), others.concat()].concat();
    for verdict in [Verdict::Keep, Verdict::Drop, Verdict::Later] {
        let mut asked = 0;
        let (mut found, mut output) = judged_by(FIRST, Version::V1, &sent, &mut |_, _| {
            asked += 1;
            verdict
        })
        .unwrap();
        assert_eq!((asked, pairs(&found)), (1, vec![("c1", "r1")]));
        assert_eq!(found.groups[0].counts.samples, 13);
        assert_eq!((found.other.series, found.both_labels), (0, 0));
        assert_eq!(found.mixed, mixed("c1", "r2"));
        let kept = [stripped_series("c1"), stripped.concat()].concat();
        match verdict {
            Verdict::Drop => assert_eq!(output, b""),
            _ => assert_eq!(output, kept),
        }
        found.discard(&mut output, &[0]);
        let left = match verdict {
            Verdict::Keep => &kept[..],
            _ => b"",
        };
        assert_eq!(output, left, "{verdict:?}");
    }
}

#[test]
fn without_both_labels_on_the_first_series_nothing_changes() {
    let neither = series(&[label("job", "j"), sample(1)]);
    let cluster = series(&[label("cluster", "c1"), sample(1)]);
    let replica = series(&[label("__replica__", "r1"), sample(1)]);
    let pair = of_both_lengths(&[("cluster", "c2"), ("__replica__", "r2")]);
    for first in [&neither, &cluster, &replica] {
        let sent = [&first[..], &pair, &neither, &cluster, &replica].concat();
        let judge = &mut |_: &str, _: &str| panic!("there is nothing to judge");
        let (found, output) = judged_by(FIRST, Version::V1, &sent, judge).unwrap();
        assert_eq!(
            (output, found.modified, found.groups.len()),
            (sent, false, 0)
        );
        assert_eq!((found.other.samples, found.both_labels), (6, 2));
        assert_eq!(found.mixed, mixed("c2", "r2"));
        let one_label = OneLabel {
            cluster: 1 + u64::from(first == &cluster),
            replica: 1 + u64::from(first == &replica),
        };
        assert_eq!(found.one_label, one_label);
        // Of series without both labels none is another's.
        let sent = [&first[..], &neither, &cluster, &replica].concat();
        let (found, _) = judged_by(FIRST, Version::V1, &sent, judge).unwrap();
        assert_eq!((found.mixed, found.both_labels), (None, 0));
    }
}

#[test]
fn series_of_one_replica_are_not_mixed() {
    let ours = of_both_lengths(&[("cluster", "c1"), ("__replica__", "r1")]);
    let metadata = field(3, &field(2, b"up"));
    let sent = [&metadata[..], &ours, &ours].concat();
    let (found, _) = judged_by(FIRST, Version::V1, &sent, &mut |_, _| Verdict::Keep).unwrap();
    assert_eq!((found.mixed, found.metadata), (None, 1));
    assert_eq!(found.groups[0].counts.series, 4);
}

#[test]
fn a_pair_that_is_not_utf_8_does_not_decide() {
    let bytes =
        |name: &str, value: &[u8]| field(1, &[field(1, name.as_bytes()), field(2, value)].concat());
    let odd = series(&[
        bytes("cluster", b"\xff"),
        label("__replica__", "r1"),
        sample(1),
    ]);
    let sent = [&odd[..], &odd, &ha_series("c1", "r1"), &odd].concat();
    let (found, output) = judged_by(FIRST, Version::V1, &sent, &mut |_, _| Verdict::Keep).unwrap();
    // The last one rides along.
    let last = series(&[bytes("cluster", b"\xff"), sample(1)]);
    assert_eq!(output, [stripped_series("c1"), last].concat());
    assert_eq!(pairs(&found), [("", ""), ("c1", "r1")]);
    assert!(found.groups[0].problem.is_some());
    assert_eq!(found.mixed, mixed("\u{fffd}", "r1"));
}

#[test]
fn the_first_series_of_2_0_decides_as_well() {
    // Series of: c1, r1; c1, r2; c2, r1; c1 alone; r1 alone; nothing.
    let of = |references: &[u64]| series_v2(&[refs(references), sample(7)]);
    let others = [
        &[5, 6, 3, 7][..],
        &[5, 8, 3, 4],
        &[5, 6],
        &[3, 4],
        &[1, 2],
        &[],
    ];
    let stripped = [&[5, 6][..], &[5, 8], &[5, 6], &[], &[1, 2], &[]];
    let series: Vec<_> = others
        .iter()
        .flat_map(|references| of(references))
        .collect();
    let left: Vec<_> = stripped
        .iter()
        .flat_map(|references| of(references))
        .collect();
    let sent = [&usual_symbols()[..], &of(&[5, 6, 3, 4]), &series].concat();
    let (found, output) = judged_by(FIRST, Version::V2, &sent, &mut |_, _| Verdict::Keep).unwrap();
    assert_eq!(pairs(&found), [("c1", "r1")]);
    assert_eq!(found.groups[0].counts.samples, 7);
    assert_eq!(found.mixed, mixed("c1", "r2"));
    let kept = [&usual_symbols()[..], &of(&[5, 6]), &left].concat();
    assert_eq!(output, kept);

    let sent = [&usual_symbols()[..], &of(&[3, 4]), &of(&[5, 6, 3, 4])].concat();
    let (found, output) = judged_by(FIRST, Version::V2, &sent, &mut |_, _| Verdict::Drop).unwrap();
    assert_eq!((output, found.modified), (sent, false));
    assert_eq!((found.both_labels, found.one_label.replica), (1, 1));
    assert_eq!(found.mixed, mixed("c1", "r1"));
}

#[test]
fn symbols_that_repeat_are_one_replica() {
    let table = symbols(&["", "cluster", "c", "c", "__replica__", "r", "r"]);
    let of = |cluster: u64, replica: u64| series_v2(&[refs(&[1, cluster, 4, replica]), sample(7)]);
    let same = [of(2, 5), of(3, 5), of(3, 6), of(2, 6)].concat();
    let sent = [&table[..], &same].concat();
    let (found, _) = judged_by(FIRST, Version::V2, &sent, &mut |_, _| Verdict::Keep).unwrap();
    assert_eq!((found.mixed, found.groups[0].counts.series), (None, 4));
    let sent = [&table[..], &same, &of(5, 2)].concat();
    let (found, _) = judged_by(FIRST, Version::V2, &sent, &mut |_, _| Verdict::Keep).unwrap();
    assert_eq!(found.mixed, mixed("r", "c"));
}

#[test]
fn what_is_shown_of_another_replica_is_bounded() {
    let long = "x".repeat(10_000);
    let sent = [ha_series("c1", "r1"), ha_series(&long, "r1")].concat();
    let (found, _) = judged_by(FIRST, Version::V1, &sent, &mut |_, _| Verdict::Keep).unwrap();
    assert_eq!(found.mixed, mixed(&long[..100], "r1"));
}
