//! Tests of comparisons with an earlier series.

use super::*;
use crate::canonical::baseline;

/// Both ways to read a repetition: where one takes it, the other does as well, and finds the same.
fn repeated(
    earlier: &mut Earlier,
    request: &[u8],
    (pos, end): (usize, usize),
    names: &Names<'_>,
    values: &mut HaValues,
) -> Option<usize> {
    let expected = earlier.repeated_as_expected(baseline(), request, pos, names);
    let read = earlier.repeated(baseline(), request, pos, end, names, values);
    let is_short = |stopped: usize| stopped <= end && request.get(stopped) != Some(&LABEL_KEY);
    if let Some((stopped, cut)) = expected
        && is_short(stopped)
    {
        assert_eq!((read, values.cut), (Some(stopped), cut));
    }
    read
}

fn label(name: &str, value: &str) -> Vec<u8> {
    let (name, value) = (name.as_bytes(), value.as_bytes());
    let lengths = [name.len() as u8, value.len() as u8];
    let content = [&[0x0a, lengths[0]], name, &[0x12, lengths[1]], value].concat();
    [&[LABEL_KEY, content.len() as u8], &content[..]].concat()
}

fn series(labels: &[(&str, &str)]) -> Vec<u8> {
    labels
        .iter()
        .flat_map(|(name, value)| label(name, value))
        .collect()
}

/// Reads what comes after `before` zeros.
fn read(earlier: &mut Earlier, before: usize, labels: &[(&str, &str)]) -> Option<(String, String)> {
    let bytes = series(labels);
    let request = [&vec![0; before], &bytes[..], &[0x12; 200]].concat();
    let names = Names::new(Some((b"cluster", b"__replica__")));
    let mut values = HaValues::default();
    let end = before + bytes.len() + 2;
    let read = repeated(earlier, &request, (before, end), &names, &mut values);
    if read.is_some() {
        assert_eq!(read, Some(before + bytes.len()));
        assert_eq!(earlier.belongs, Belongs::To(7));
        let cut = [label("__replica__", "a"), Vec::new()];
        assert!(cut.iter().any(|cut| cut == values.cut.of(&request)));
    }
    let text = |span: Span| String::from_utf8(span.of(&request).to_vec()).unwrap();
    read.map(|_| (text(values.cluster), text(values.replica)))
}

fn after(labels: &[(&str, &str)]) -> Earlier {
    let bytes = series(labels);
    let mut values = HaValues::default();
    let request = [&[9; 5], &bytes[..], &[0x12; 200]].concat();
    let names = Names::new(Some((b"cluster", b"__replica__")));
    let end = 5 + bytes.len();
    let stopped = super::super::labels(
        &request,
        5,
        end,
        &names,
        &mut super::super::Lengths::default(),
        &mut values,
    );
    assert_eq!(stopped, end);
    let mut earlier = Earlier::default();
    earlier.replace(&request, Span::new(5, end), &values, Belongs::To(7));
    earlier
}

const LONG: &str = "a value that does not fit into thirty-two bytes, nor into sixty-four of them";
const FIRST: [(&str, &str); 6] = [
    ("__name__", "up"),
    ("__replica__", "a"),
    ("cluster", "c1"),
    ("job", LONG),
    ("mode", "idle"),
    ("zone", "z"),
];

fn with(changes: &[(usize, (&'static str, &'static str))]) -> Vec<(&'static str, &'static str)> {
    let mut labels = FIRST.to_vec();
    for (index, label) in changes {
        labels[*index] = *label;
    }
    labels
}

#[test]
fn other_labels_in_place_of_a_few() {
    let pair = || Some(("c1".to_owned(), "a".to_owned()));
    let mut earlier = after(&FIRST);
    for before in [0, 3, 1000] {
        assert_eq!(read(&mut earlier, before, &FIRST), pair());
        for other in [
            ("mode", "iowait"),
            ("mode", ""),
            ("le", "0.5"),
            ("mode", LONG),
        ] {
            assert_eq!(read(&mut earlier, before, &with(&[(4, other)])), pair());
        }
        let three = [
            (0, ("__name__", LONG)),
            (3, ("job", "")),
            (5, ("zone", "y")),
        ];
        assert_eq!(read(&mut earlier, before, &with(&three)), pair());
        let four = [&three[..], &[(4, ("mode", "irq"))]].concat();
        assert_eq!(read(&mut earlier, before, &with(&four)), None);
    }
}

#[test]
fn what_decides_never_differs() {
    let mut earlier = after(&FIRST);
    for different in [
        (1, ("__replica__", "b")),
        (2, ("cluster", "c2")),
        (2, ("cluster", "c11")),
        (2, ("job", "c1")),
        (1, ("replica", "a")),
        // The last of repeated labels counts.
        (4, ("cluster", "c2")),
        (0, ("__replica__", "b")),
        (5, ("__replica__", "a")),
    ] {
        assert_eq!(
            read(&mut earlier, 2, &with(&[different])),
            None,
            "{different:?}"
        );
    }
    let no_labels = [FIRST[0], FIRST[3]];
    let mut earlier = after(&no_labels);
    assert_eq!(read(&mut earlier, 2, &no_labels), Some(Default::default()));
    assert_eq!(read(&mut earlier, 2, &[FIRST[2], FIRST[3]]), None);
}

/// With each byte changed, in turn.
#[test]
fn nothing_but_what_is_expected_differs() {
    let other = [("mode", "irq"), ("job", "another"), ("__name__", "down")];
    let [mode, job, name] = other.map(|label| {
        let index = FIRST.iter().position(|(name, _)| *name == label.0);
        (index.unwrap(), label)
    });
    let names = Names::new(Some((b"cluster", b"__replica__")));
    for changes in [&[][..], &[mode], &[name, mode], &[name, job, mode]] {
        let expecting = || {
            let mut earlier = after(&FIRST);
            for _ in 0..2 {
                assert!(read(&mut earlier, 0, &with(changes)).is_some());
            }
            let expected = changes.iter().map(|(index, _)| *index);
            assert!(earlier.expected.labels().eq(expected));
            earlier
        };
        let is_expected = |byte: usize| {
            let mut end = 0;
            let label = FIRST.iter().position(|(name, value)| {
                end += label(name, value).len();
                byte < end
            });
            changes.iter().any(|(index, _)| Some(*index) == label)
        };
        let text = series(&FIRST);
        let read_as_expected = |bytes: &[u8]| {
            let mut earlier = expecting();
            let request = [bytes, &[0x12; 200]].concat();
            let none = &mut HaValues::default();
            let read = earlier.repeated_as_expected(baseline(), &request, 0, &names);
            repeated(&mut earlier, &request, (0, text.len()), &names, none);
            read
        };
        assert!(read_as_expected(&text).is_some());
        for byte in 0..text.len() {
            let mut changed = text.clone();
            changed[byte] ^= 1;
            let read = read_as_expected(&changed);
            assert!(read.is_none() || is_expected(byte), "{byte}");
        }
    }
}

#[test]
fn more_and_fewer_labels() {
    let mut earlier = after(&FIRST);
    let more = [&FIRST[..], &[("zzz", "")]].concat();
    for labels in [&FIRST[..5], &FIRST[1..], &[], &more] {
        assert_eq!(read(&mut earlier, 0, labels), None, "{labels:?}");
    }
    // A series that ends within the labels of the earlier one.
    let request = [series(&FIRST), vec![0x12; 200]].concat();
    let names = Names::new(None);
    let mut values = HaValues::default();
    let length = request.len() - 200;
    let mut read = |end| repeated(&mut earlier, &request, (0, end), &names, &mut values);
    assert_eq!(read(length - 1), None);
    assert_eq!(read(length), Some(length));
}

/// Of an earlier one that had more labels than this, too.
#[test]
fn each_byte_is_of_its_label_whatever_the_guess() {
    let many = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"].map(|name| (name, "x"));
    let mut earlier = after(&many);
    let bytes = [&series(&FIRST)[..], &[0x12; 200]].concat();
    let end = bytes.len() - 200;
    let none = HaValues::default();
    earlier.replace(&bytes, Span::new(0, end), &none, Belongs::ToNone);
    let mut expected = Vec::new();
    for (index, (name, value)) in FIRST.iter().enumerate() {
        expected.extend(vec![Some(index); label(name, value).len()]);
    }
    for guess in 0..BOUNDS as u8 {
        let found = (0..end).map(|byte| {
            earlier.differed = [guess; DIFFERENT];
            earlier.label_of(byte, 0, 0)
        });
        assert_eq!(found.collect::<Vec<_>>(), expected, "{guess}");
    }
}

#[test]
fn what_is_not_worth_comparing() {
    assert_eq!(Earlier::default().labels, 0);
    let long = "x".repeat(100);
    let names: Vec<String> = (0..40).map(|number| format!("l{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (&name[..], "")).collect();
    let longest: Vec<_> = names
        .iter()
        .take(10)
        .map(|name| (&name[..], &long[..]))
        .collect();
    assert_eq!(
        (after(&many[..31]).labels, after(&many[..32]).labels),
        (31, 0)
    );
    assert_eq!(
        (after(&longest[..9]).labels, after(&longest).labels),
        (9, 0)
    );

    let mut earlier = after(&FIRST);
    let outdated: Vec<bool> = (0..UNLIKE + PAUSE + 2)
        .map(|_| earlier.is_outdated(false))
        .collect();
    let before = usize::from(UNLIKE);
    assert!(outdated[..before].iter().all(|outdated| *outdated));
    assert!(
        !outdated[before..before + usize::from(PAUSE)]
            .iter()
            .any(|outdated| *outdated)
    );
    assert!(outdated[before + usize::from(PAUSE)]);

    // More differences than before, once.
    let mut earlier = after(&FIRST);
    let mut read_another = |changes: &[_]| {
        assert!(read(&mut earlier, 0, &with(changes)).is_some());
        earlier.is_outdated(true)
    };
    let (one, another) = ((4, ("mode", "irq")), (5, ("zone", "")));
    assert!(!read_another(&[]));
    assert!(read_another(&[one]));
    assert!(!read_another(&[one]));
    assert!(read_another(&[one, another]));
    assert!(!read_another(&[]));
}
