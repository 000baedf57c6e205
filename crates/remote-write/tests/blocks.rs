//! Our decompression against that of the `snap` crate.
#![allow(clippy::unwrap_used, reason = "a failed check panics")]

use proptest::prelude::*;
use remote_write::{DecompressError, decompress_into};

const LIMIT: u64 = 1 << 20;

/// That both take a block for the same bytes, or for corrupt; whether for bytes.
fn agrees(block: &[u8]) -> bool {
    // Longer content from before must not show.
    let mut ours = vec![0xa5; 100];
    let outcome = decompress_into(block, LIMIT, &mut ours);
    match snap::raw::Decoder::new().decompress_vec(block) {
        Ok(theirs) => {
            assert_eq!(outcome, Ok(()));
            assert!(ours == theirs);
            true
        }
        Err(theirs) => {
            let corrupt = matches!(outcome, Err(DecompressError::Corrupt(_)));
            assert!(corrupt, "{theirs}, but ours: {outcome:?}");
            false
        }
    }
}

/// An element, and how many bytes it makes.
fn element() -> impl Strategy<Value = (Vec<u8>, usize)> {
    let literal = prop_oneof![1..=16usize, 17..=60usize, 61..=600usize]
        .prop_flat_map(|len| (prop::collection::vec(any::<u8>(), len), 0..=4usize))
        .prop_map(|(content, form)| {
            let less = content.len() - 1;
            // Any form that can say it, not only the shortest.
            let least = [(60, 0), (0x100, 1)].iter().find(|(end, _)| less < *end);
            let extra = form.max(least.map_or(2, |(_, extra)| *extra));
            let tag = if extra == 0 { less } else { 59 + extra };
            let mut bytes = vec![(tag << 2) as u8];
            bytes.extend(&less.to_le_bytes()[..extra]);
            bytes.extend(&content);
            (bytes, content.len())
        });
    let offset = || prop_oneof![0..=3usize, 4..=20usize, 21..=70usize, 71..=2047usize];
    let copies = (1..=3usize, 0..=63usize, offset()).prop_map(|(kind, upper, offset)| {
        let [low, high, ..] = offset.to_le_bytes();
        match kind {
            1 => {
                let upper = (usize::from(high) << 3) | (upper & 7);
                (vec![(upper << 2) as u8 | 1, low], 4 + (upper & 7))
            }
            2 => (vec![(upper << 2) as u8 | 2, low, high], 1 + upper),
            _ => (vec![(upper << 2) as u8 | 3, low, high, 0, 0], 1 + upper),
        }
    });
    prop_oneof![literal, copies]
}

fn block_of(declared: usize, elements: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    let mut size = declared;
    while size >= 0x80 {
        block.push(size as u8 | 0x80);
        size >>= 7;
    }
    block.push(size as u8);
    block.extend(elements);
    block
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_elements(
        elements in prop::collection::vec(element(), 0..40),
        begin in prop::collection::vec(any::<u8>(), 1..200),
        wrong in prop_oneof![8 => Just(0i32), 1 => -70..70i32],
        cut in prop_oneof![8 => Just(0usize), 1 => 1..80usize],
    ) {
        let extra = usize::from(begin.len() > 60);
        let tag = if extra == 0 { begin.len() - 1 } else { 60 };
        let mut bytes = vec![(tag << 2) as u8];
        bytes.extend(&(begin.len() - 1).to_le_bytes()[..extra]);
        bytes.extend(&begin);
        let mut made = begin.len();
        for (element, len) in &elements {
            bytes.extend(element);
            made += len;
        }
        bytes.truncate(bytes.len().saturating_sub(cut));
        let declared = (made as i32 + wrong).max(0) as usize;
        agrees(&block_of(declared, &bytes));
    }

    #[test]
    fn what_a_library_compresses(
        parts in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..50), 1..40usize), 0..60),
    ) {
        let raw: Vec<u8> = parts.iter().flat_map(|(part, times)| part.repeat(*times)).collect();
        let block = snap::raw::Encoder::new().compress_vec(&raw).unwrap();
        prop_assert!(agrees(&block));
    }

    #[test]
    fn one_changed_byte(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let raw: Vec<u8> = (0..3_000u32).flat_map(|n| (n / 5 % 97).to_le_bytes()).collect();
        let mut block = snap::raw::Encoder::new().compress_vec(&raw).unwrap();
        let at = at.index(block.len());
        // Not the preamble, which may declare more than the limit.
        if at >= 2 {
            block[at] = to;
            agrees(&block);
        }
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let corrupt = |block: &[u8]| match decompress_into(block, LIMIT, &mut Vec::new()) {
        Err(DecompressError::Corrupt(text)) => text,
        other => panic!("{other:?}"),
    };
    // A preamble of two bytes, then a literal of four.
    let begin = [0x80, 1, 3 << 2, b'a', b'b', b'c', b'd'];
    let with = |more: &[u8]| [&begin[..], more].concat();
    assert_eq!(
        corrupt(&with(&[(10 << 2) | 2, 4])),
        "it ends within the element that begins at byte 7"
    );
    assert_eq!(
        corrupt(&with(&[(10 << 2) | 2, 5, 0])),
        "the element at byte 7 copies from where nothing is"
    );
    assert_eq!(
        corrupt(&with(&[(63 << 2) | 2, 4, 0, (63 << 2) | 2, 4, 0])),
        "the element at byte 10 goes beyond the 128 bytes that it declares"
    );
    assert_eq!(
        corrupt(&with(&[(63 << 2) | 2, 4, 0])),
        "it makes fewer than the 128 bytes that it declares"
    );
}
