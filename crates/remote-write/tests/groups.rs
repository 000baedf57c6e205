//! Groups, verdicts and counts: what the caller decides on, and what becomes of it.

mod wire;

use remote_write::{Scratch, Verdict, Version};

use wire::{field, ha_series, judged, label, series, stripped_series};

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
            found.dropped_series(),
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
    assert_eq!((found.kept_series(), found.dropped_series()), (3, 3));
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
