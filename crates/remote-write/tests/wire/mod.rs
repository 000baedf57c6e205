//! Requests written field by field.

#![allow(dead_code, reason = "each test binary uses some of it")]

use remote_write::{Decides, HaLabelNames, HaRule, Scan, ScanError, Scratch, Verdict, Version};

const NAMES: HaLabelNames<'_> = HaLabelNames {
    cluster: "cluster",
    replica: "__replica__",
};
pub(crate) const EACH: HaRule<'_> = NAMES.rule(Decides::EachSeries);
pub(crate) const FIRST: HaRule<'_> = NAMES.rule(Decides::FirstSeries);

pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A length-delimited field.
pub(crate) fn field(number: u64, content: &[u8]) -> Vec<u8> {
    [
        &varint(number << 3 | 2)[..],
        &varint(content.len() as u64),
        content,
    ]
    .concat()
}

/// A varint field.
pub(crate) fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// A field of eight bytes.
pub(crate) fn double(field: u64, value: f64) -> Vec<u8> {
    [&varint(field << 3 | 1)[..], &value.to_bits().to_le_bytes()].concat()
}

pub(crate) fn label(name: &str, value: &str) -> Vec<u8> {
    field(
        1,
        &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat(),
    )
}

pub(crate) fn sample(timestamp: i64) -> Vec<u8> {
    field(2, &[double(1, 1.5), number(2, timestamp as u64)].concat())
}

/// A 1.0 series.
pub(crate) fn series(parts: &[Vec<u8>]) -> Vec<u8> {
    field(1, &parts.concat())
}

/// A 1.0 series of the pair, with one sample.
pub(crate) fn ha_series(cluster: &str, replica: &str) -> Vec<u8> {
    let labels = [
        label("__name__", "up"),
        label("__replica__", replica),
        label("cluster", cluster),
    ];
    series(&[labels.concat(), sample(1000)])
}

/// What is left of [`ha_series`].
pub(crate) fn stripped_series(cluster: &str) -> Vec<u8> {
    series(&[
        label("__name__", "up"),
        label("cluster", cluster),
        sample(1000),
    ])
}

pub(crate) fn symbols(symbols: &[&str]) -> Vec<u8> {
    symbols
        .iter()
        .flat_map(|symbol| field(4, symbol.as_bytes()))
        .collect()
}

/// Symbols of the 2.0 requests of the tests.
pub(crate) fn usual_symbols() -> Vec<u8> {
    symbols(&[
        "",
        "__name__",
        "up",
        "__replica__",
        "r1",
        "cluster",
        "c1",
        "r2",
        "c2",
    ])
}

/// A packed run of references.
pub(crate) fn refs(references: &[u64]) -> Vec<u8> {
    field(
        1,
        &references
            .iter()
            .flat_map(|&reference| varint(reference))
            .collect::<Vec<_>>(),
    )
}

/// A 2.0 series.
pub(crate) fn series_v2(parts: &[Vec<u8>]) -> Vec<u8> {
    field(5, &parts.concat())
}

/// Keeps all.
pub(crate) fn scan(version: Version, request: &[u8]) -> Result<(Scan, Vec<u8>), ScanError> {
    judged(version, request, &mut |_, _| Verdict::Keep)
}

pub(crate) fn judged(
    version: Version,
    request: &[u8],
    judge: &mut dyn FnMut(&str, &str) -> Verdict,
) -> Result<(Scan, Vec<u8>), ScanError> {
    judged_by(EACH, version, request, judge)
}

pub(crate) fn judged_by(
    rule: HaRule<'_>,
    version: Version,
    request: &[u8],
    judge: &mut dyn FnMut(&str, &str) -> Verdict,
) -> Result<(Scan, Vec<u8>), ScanError> {
    let mut output = request.to_vec();
    let mut scratch = Scratch::default();
    let found = remote_write::scan(version, &mut output, Some(rule), &mut scratch, judge)?;
    assert_eq!(found.length, output.len());
    Ok((found, output))
}

pub(crate) fn pairs(scan: &Scan) -> Vec<(&str, &str)> {
    scan.groups
        .iter()
        .map(|group| (group.cluster.as_str(), group.replica.as_str()))
        .collect()
}
