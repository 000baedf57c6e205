//! Requests as only a hostile or unusual sender would encode them, and all of them legal.

#![allow(dead_code, reason = "each test binary uses some of it")]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// One encoded field.
type Field = Vec<u8>;

/// A varint, sometimes longer than it has to be.
fn varint(value: u64) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![9 => Just(0usize), 1 => 1..3usize].prop_map(move |padding| {
        let mut bytes = Vec::new();
        let mut rest = value;
        while rest >= 0x80 {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
        for _ in 0..padding.min(10 - bytes.len()) {
            if let Some(last) = bytes.last_mut() {
                *last |= 0x80;
            }
            bytes.push(0);
        }
        bytes
    })
}

fn keyed(number: u32, wire_type: u8, value: Vec<u8>) -> BoxedStrategy<Field> {
    varint(u64::from(number) << 3 | u64::from(wire_type))
        .prop_map(move |mut bytes| {
            bytes.extend_from_slice(&value);
            bytes
        })
        .boxed()
}

fn delimited(number: u32, content: Vec<u8>) -> BoxedStrategy<Field> {
    varint(content.len() as u64)
        .prop_flat_map(move |length| keyed(number, 2, [length, content.clone()].concat()))
        .boxed()
}

fn number(number: u32, value: u64) -> BoxedStrategy<Field> {
    varint(value)
        .prop_flat_map(move |value| keyed(number, 0, value))
        .boxed()
}

fn any_number(field: u32) -> BoxedStrategy<Field> {
    prop_oneof![any::<u64>(), 0..300u64]
        .prop_flat_map(move |value| number(field, value))
        .boxed()
}

fn double(number: u32) -> BoxedStrategy<Field> {
    // Staleness markers and other NaNs are among them.
    prop_oneof![any::<u64>(), Just(0x7ff0_0000_0000_0002)]
        .prop_flat_map(move |bits| keyed(number, 1, bits.to_le_bytes().to_vec()))
        .boxed()
}

/// A field that no version knows.
fn unknown() -> BoxedStrategy<Field> {
    let field = 50..5000u32;
    prop_oneof![
        field.clone().prop_flat_map(any_number),
        field.clone().prop_flat_map(double),
        (field.clone(), any::<[u8; 4]>()).prop_flat_map(|(n, bytes)| keyed(n, 5, bytes.to_vec())),
        (field, vec(any::<u8>(), 0..9)).prop_flat_map(|(n, bytes)| delimited(n, bytes)),
    ]
    .boxed()
}

/// Fields in any order, with unknown ones among them.
fn message(fields: BoxedStrategy<Vec<Field>>) -> BoxedStrategy<Vec<u8>> {
    let extra = prop_oneof![4 => Just(Vec::new()), 1 => vec(unknown(), 1..3)];
    let in_order = (fields, extra).prop_map(|(fields, extra)| [fields, extra].concat());
    prop_oneof![1 => in_order.clone(), 3 => in_order.prop_shuffle()]
        .prop_map(|fields| fields.concat())
        .boxed()
}

/// Any number of each field: repeated scalars are legal, the last wins.
fn some(choices: Vec<BoxedStrategy<Field>>) -> BoxedStrategy<Vec<Field>> {
    vec(proptest::strategy::Union::new(choices), 0..6).boxed()
}

fn submessage(field: u32, fields: Vec<BoxedStrategy<Field>>) -> BoxedStrategy<Field> {
    message(some(fields))
        .prop_flat_map(move |content| delimited(field, content))
        .boxed()
}

fn text(field: u32, choices: &'static [&'static str]) -> BoxedStrategy<Field> {
    let chosen = select(choices).prop_map(|text| text.as_bytes().to_vec());
    let long = (100..300usize).prop_map(|length| vec![b'x'; length]);
    prop_oneof![12 => chosen, 1 => long]
        .prop_flat_map(move |text| delimited(field, text))
        .boxed()
}

const LABEL_NAMES: &[&str] = &[
    "cluster",
    "__replica__",
    "cluster",
    "__replica__",
    "__name__",
    "job",
    "",
    "klyster",
];
const LABEL_VALUES: &[&str] = &["", "a", "b", "cc", "üü", "cluster", "__replica__"];

fn label() -> BoxedStrategy<Field> {
    let plain = (text(1, LABEL_NAMES), text(2, LABEL_VALUES))
        .prop_map(|(name, value)| [name, value].concat())
        .prop_flat_map(|content| delimited(1, content));
    let odd = submessage(1, vec![text(1, LABEL_NAMES), text(2, LABEL_VALUES)]);
    prop_oneof![4 => plain, 1 => odd].boxed()
}

fn timestamp(field: u32) -> BoxedStrategy<Field> {
    prop_oneof![
        1_700_000_000_000..1_800_000_000_000u64,
        any::<u64>(),
        0..3u64
    ]
    .prop_flat_map(move |ms| number(field, ms))
    .boxed()
}

fn sample(has_start: bool) -> BoxedStrategy<Field> {
    let plain = (double(1), timestamp(2))
        .prop_map(|(value, timestamp)| [value, timestamp].concat())
        .prop_flat_map(|content| delimited(2, content));
    let mut fields = vec![double(1), timestamp(2)];
    if has_start {
        fields.push(timestamp(3));
    }
    prop_oneof![2 => plain, 1 => submessage(2, fields)].boxed()
}

fn histogram(field: u32) -> BoxedStrategy<Field> {
    let span = || vec![any_number(1), any_number(2)];
    let numbers = |field| {
        vec(any::<u64>().prop_flat_map(varint), 0..4)
            .prop_flat_map(move |run| delimited(field, run.concat()))
    };
    let doubles = |field| {
        vec(any::<[u8; 8]>(), 0..3).prop_flat_map(move |run| delimited(field, run.concat()))
    };
    submessage(
        field,
        vec![
            any_number(1),
            double(2),
            double(3),
            any_number(4),
            double(5),
            any_number(6),
            double(7),
            submessage(8, span()),
            any_number(9),
            numbers(9).boxed(),
            double(10),
            doubles(10).boxed(),
            submessage(11, span()),
            numbers(12).boxed(),
            doubles(13).boxed(),
            any_number(14),
            timestamp(15),
            timestamp(15),
            doubles(16).boxed(),
            timestamp(17),
        ],
    )
}

fn series_v1() -> BoxedStrategy<Field> {
    let exemplar = || submessage(3, vec![label(), double(2), timestamp(3)]);
    let fields = (
        vec(label(), 0..6),
        vec(sample(false), 0..3),
        vec(prop_oneof![exemplar(), histogram(4)], 0..2),
    )
        .prop_map(|(labels, samples, others)| [labels, samples, others].concat());
    message(fields.boxed())
        .prop_flat_map(|content| delimited(1, content))
        .boxed()
}

/// The same request, sometimes with so much after it that the fast readers see all of it.
fn padded(request: BoxedStrategy<Vec<u8>>) -> BoxedStrategy<Vec<u8>> {
    let padding = [&[0x82, 0x7d, 0xc8, 0x01][..], &[0xff; 200]].concat();
    prop_oneof![Just(Vec::new()), Just(padding)]
        .prop_flat_map(move |padding| {
            request
                .clone()
                .prop_map(move |request| [&request[..], &padding].concat())
        })
        .boxed()
}

/// A legal request of remote write 1.0.
pub(crate) fn request_v1() -> BoxedStrategy<Vec<u8>> {
    let metadata = submessage(
        3,
        vec![
            any_number(1),
            text(2, LABEL_VALUES),
            text(4, LABEL_VALUES),
            text(5, LABEL_VALUES),
        ],
    );
    padded(message(
        vec(prop_oneof![5 => series_v1(), 1 => metadata], 0..8).boxed(),
    ))
}

const SYMBOLS: &[&str] = &[
    "cluster",
    "__replica__",
    "a",
    "b",
    "cc",
    "__name__",
    "job",
    "",
];

/// None of which is a name twice, so that tables of many stay usual.
const OTHER_SYMBOLS: &[&str] = &["a", "b", "cc", "__name__", "job", ""];

/// References of one series or exemplar: one run, several that split pairs, or not packed.
fn references(symbols: u32) -> BoxedStrategy<Vec<Field>> {
    // Low references are the HA labels more often than not.
    let one = move || prop_oneof![3 => 0..symbols.min(4), 1 => 0..symbols];
    let pairs = vec((one(), one()), 0..6).prop_map(|pairs| {
        pairs
            .into_iter()
            .flat_map(|(name, value)| [name, value])
            .collect::<Vec<u32>>()
    });
    let encoded = pairs.prop_flat_map(|references| {
        references
            .into_iter()
            .map(|one| varint(u64::from(one)).boxed())
            .collect::<Vec<_>>()
    });
    let packed = encoded
        .clone()
        .prop_flat_map(|run| delimited(1, run.concat()).prop_map(|f| vec![f]));
    let loose = encoded.clone().prop_flat_map(|run| {
        run.into_iter()
            .map(|one| keyed(1, 0, one))
            .collect::<Vec<_>>()
    });
    let split = (encoded, any::<Index>()).prop_flat_map(|(run, at)| {
        let at = if run.is_empty() {
            0
        } else {
            at.index(run.len())
        };
        let (left, right) = run.split_at(at);
        vec![delimited(1, left.concat()), delimited(1, right.concat())]
    });
    prop_oneof![4 => packed, 1 => loose, 1 => split].boxed()
}

fn series_v2(symbols: u32) -> BoxedStrategy<Field> {
    let exemplar = (references(symbols), some(vec![double(2), timestamp(3)]))
        .prop_map(|(references, rest)| [references, rest].concat().concat())
        .prop_flat_map(|content| delimited(4, content));
    let reference = move |field| (0..symbols).prop_flat_map(move |r| number(field, u64::from(r)));
    let metadata = submessage(
        5,
        vec![any_number(1), reference(3).boxed(), reference(4).boxed()],
    );
    let others = prop_oneof![exemplar, histogram(3), metadata, any_number(6)];
    // References keep their order: shuffling runs that split pairs makes other pairs, or one of
    // an odd number, which is the business of the mutations.
    (
        references(symbols),
        vec(sample(true), 0..3),
        vec(others, 0..3),
        any::<bool>(),
    )
        .prop_map(|(references, samples, others, is_first)| {
            let rest = [samples, others].concat();
            let parts = if is_first {
                [references, rest]
            } else {
                [rest, references]
            };
            parts.concat().concat()
        })
        .prop_flat_map(|content| delimited(5, content))
        .boxed()
}

/// A legal request of remote write 2.0.
pub(crate) fn request_v2() -> BoxedStrategy<Vec<u8>> {
    let more = prop_oneof![
        vec(select(SYMBOLS), 0..12),
        vec(select(OTHER_SYMBOLS), 120..400)
    ];
    let symbols = more.prop_map(|more| {
        let mut symbols = vec!["", "cluster", "__replica__", "a"];
        symbols.extend(more);
        symbols
    });
    let request = (symbols, 0..4u8)
        .prop_flat_map(|(symbols, order)| {
            let series = vec(
                prop_oneof![6 => series_v2(symbols.len() as u32), 1 => unknown()],
                0..7,
            );
            let symbols = symbols
                .into_iter()
                .map(|symbol| delimited(4, symbol.as_bytes().to_vec()))
                .collect::<Vec<_>>();
            (symbols, series, Just(order))
        })
        .prop_map(|(mut symbols, series, order)| {
            let parts = match order {
                0 => [series, symbols],
                1 => {
                    let rest = symbols.split_off(symbols.len() / 2);
                    [symbols, [series, rest].concat()]
                }
                _ => [symbols, series],
            };
            parts.concat().concat()
        })
        .boxed();
    padded(request)
}

/// The same with a few bytes changed, cut out, doubled, or the end missing.
pub(crate) fn mutated(request: BoxedStrategy<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<Index>(), 0..6u8, any::<u8>());
    (request, vec(change, 1..4)).prop_map(|(mut bytes, changes)| {
        for (at, how, byte) in changes {
            if bytes.is_empty() {
                return bytes;
            }
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte % 8),
                2 => bytes[at] = bytes[at].wrapping_add(1),
                3 => {
                    bytes.remove(at);
                }
                4 => bytes.insert(at, byte),
                _ => bytes.truncate(at),
            }
        }
        bytes
    })
}
