//! Tests of the reader of usual 2.0 series.

use super::*;
use crate::canonical::baseline;

fn reader_of(symbols: usize, cluster: u32, replica: u32) -> Option<SeriesReader<impl Simd>> {
    SeriesReader::new(baseline(), symbols, cluster, replica)
}

/// Windows need bytes after the message.
fn padded(bytes: &[u8]) -> Vec<u8> {
    [bytes, &[0xff; 200]].concat()
}

/// Whole pairs of which names and values take one byte or two.
#[test]
fn values_of_one_byte() {
    let reader = reader_of(300, 3, 100).unwrap();
    let names = [&[3][..], &[100], &[5], &[0x80, 0x01], &[0x83, 0x02]];
    let values = [&[3][..], &[9], &[0x80, 0x01], &[0xab, 0x02]];
    let pairs: Vec<_> = names
        .iter()
        .flat_map(|name| values.map(|value| (*name, value)))
        .collect();
    for (first, second) in pairs
        .iter()
        .flat_map(|first| pairs.iter().map(move |second| (first, second)))
    {
        if first.0 == second.0 && first.0.len() == 1 && first.0 != [5] {
            // An HA label twice is not read here.
            continue;
        }
        for filler in 0..15 {
            let mut run = [5, 0x80, 0x01].repeat(filler);
            let mut expected = 0;
            for (name, value) in [first, second] {
                run.extend(*name);
                let is_ha = matches!(name, [3] | [100]);
                if value.len() == 1 && !is_ha && run.len() < 64 {
                    expected |= 1 << run.len();
                }
                run.extend(*value);
            }
            let read = reader.read_run(&padded(&run), 0, run.len());
            assert_eq!(read.unwrap().1, expected, "{run:x?}");
        }
    }
}

#[test]
fn runs() {
    let reader = reader_of(300, 3, 100).unwrap();
    let labels = |cluster, replica, start, end| {
        Some(RunLabels {
            cluster,
            replica,
            cut: Span::new(start, end),
        })
    };
    // Pairs (1, 2), (100, 299), (3, 4), (5, 3).
    let run = [1, 2, 100, 0xab, 0x02, 3, 4, 5, 3];
    assert_eq!(
        reader.run(&padded(&run), 0, run.len()),
        labels(4, 299, 2, 5)
    );
    assert_eq!(reader.run(&padded(&run), 3, 3), Some(RunLabels::NONE));
    let refused: [&[u8]; 13] = [
        &run[..8],
        &run[..4],
        // 300 and 384, out of range, and across words.
        &[1, 0xac, 0x02],
        &[1, 0x80, 0x03],
        &[[1; 63].as_slice(), &[0xac, 0x02]].concat(),
        // Two bytes for what could be one.
        &[0x83, 0x00, 1, 2],
        // Three bytes, and across words.
        &[1, 0x81, 0x80, 0x00],
        &[1, 2, 3, 4, 5, 6, 7, 0x81, 0x81, 0x01],
        // The cluster twice.
        &[3, 1, 3, 2],
        &[1, 2, 3, 4, 5, 6, 7, 0x81],
        &[[1; 63].as_slice(), &[0x81, 0x81, 0x01]].concat(),
        &[[1; 63].as_slice(), &[0x81]].concat(),
        &[1; 65],
    ];
    for run in refused {
        assert_eq!(reader.run(&padded(run), 0, run.len()), None, "{run:x?}");
    }
    // A pair and a reference that straddle two windows.
    let long = [[1; 62].as_slice(), &[100, 0xc8, 0x01, 3, 9], &[1; 70]].concat();
    for at in [60, 62] {
        let run = &long[62 - at..];
        assert_eq!(
            reader.run(&padded(run), 0, run.len()),
            labels(9, 200, at, at + 3)
        );
    }
    let straddling = [&[0x81, 0x01], &[1; 61][..], &[100, 0xc8, 0x01]].concat();
    let found = reader.run(&padded(&straddling), 0, straddling.len());
    assert_eq!(found, labels(NO_REFERENCE, 200, 63, 66));
    assert!(reader_of(0, NO_REFERENCE, NO_REFERENCE).is_none());
    assert!(reader_of(300, 3, 128).is_none());
    assert!(reader_of(300, 128, 3).is_none());
    for symbols in [128, 129, 255, 256, 257, 300, 16_383, 16_384] {
        let reader = reader_of(symbols, NO_REFERENCE, NO_REFERENCE).unwrap();
        for reference in 128..16_384 {
            let run = [1, reference as u8 | 0x80, (reference >> 7) as u8];
            let found = reader.run(&padded(&run), 0, 3);
            assert_eq!(
                found.is_some(),
                reference < symbols,
                "{reference} of {symbols}"
            );
        }
    }
    // Of one byte, wherever it is: alone, as a name and as a value, and of a later window.
    for symbols in [1, 2, 101, 127, 128, 300] {
        let reader = reader_of(symbols, NO_REFERENCE, NO_REFERENCE).unwrap();
        for reference in 0..128 {
            for at in [0, 1, 63, 64, 65] {
                let mut run = [0; 66];
                run[at] = reference;
                let found = reader.run(&padded(&run), 0, run.len());
                let is_in_range = usize::from(reference) < symbols;
                assert_eq!(found.is_some(), is_in_range, "{reference} of {symbols}");
            }
        }
    }
    for symbols in [1, 127] {
        let reader = reader_of(symbols, NO_REFERENCE, NO_REFERENCE).unwrap();
        for reference in 0..16_384 {
            let run = [0, reference as u8 | 0x80, (reference >> 7) as u8];
            assert_eq!(reader.run(&padded(&run), 0, 3), None, "{reference}");
        }
    }
    let wide = reader_of(1 << 20, NO_REFERENCE, NO_REFERENCE).unwrap();
    let run = [0xff, 0x7f, 0xff, 0x7f];
    assert_eq!(wide.run(&padded(&run), 0, 4), Some(RunLabels::NONE));
}

#[test]
fn series() {
    let reader = reader_of(300, 3, 5).unwrap();
    let short = [0x2a, 10, 0x0a, 4, 3, 7, 5, 8, 0x12, 2, 0x10, 9];
    let expected = ShortSeries {
        end: 12,
        labels: RunLabels {
            cluster: 7,
            replica: 8,
            cut: Span::new(6, 8),
        },
        timestamp: 9,
    };
    let mut last = Last::NONE;
    assert_eq!(reader.series(&padded(&short), 0, &mut last), Some(expected));
    assert_eq!(reader.series(&short, 0, &mut last), None);
    let mut with = |metadata: &[u8]| {
        let mut series = [&short[..], &[0x2a, metadata.len() as u8], metadata].concat();
        series[1] = series.len() as u8 - 2;
        reader
            .series(&padded(&series), 0, &mut last)
            .map(|series| series.end)
    };
    assert_eq!(with(&[]), Some(14));
    // Of another length, the same twice, and as long as can be remembered.
    for _ in 0..2 {
        assert_eq!(with(&[0x08, 1, 0x18, 7]), Some(18));
    }
    assert_eq!(with(&[0x08, 1, 0x18, 7, 0x20, 1]), Some(20));
    let long = [
        0x08, 1, 0x18, 0xab, 0x02, 0x20, 0xab, 0x02, 0x08, 2, 0x08, 3, 0x08, 4,
    ];
    for _ in 0..2 {
        assert_eq!(with(&long), Some(28));
    }
    let mut other = long;
    other[13] = 5;
    assert_eq!(with(&other), Some(28));
    assert_eq!(with(&[0x18, 0xab, 0x02, 0x20, 0xab, 0x02]), Some(20));
    for odd in [
        &[0x18, 0xac, 0x02][..],
        &[0x20, 0xac, 0x02],
        &[0x18, 0x80, 0x80, 0x00],
        &[0x18],
        &[0x18, 0x81],
        &[0x10, 1],
        &[
            0x20, 0, 0x20, 0, 0x20, 0, 0x20, 0, 0x20, 0, 0x20, 0, 0x20, 0, 0x20, 0, 0x20, 0, 8, 0,
        ],
    ] {
        assert_eq!(with(odd), None, "{odd:x?}");
    }
    assert_eq!(short_series(&short, 0), Some(12));
    assert_eq!(short_series(&short[..11], 0), None);
    assert_eq!(short_series(&[0x2a, 0x80, 0], 0), None);
}
