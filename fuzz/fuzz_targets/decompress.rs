//! Any bytes as a snappy block: never more memory than allowed, the same outcome as of the `snap` crate,
//! and what it holds round-trips.
#![no_main]

use libfuzzer_sys::fuzz_target;
use remote_write::{compress_into, declared_size, decompress_into};

const LIMIT: u64 = 1 << 20;

fuzz_target!(|compressed: &[u8]| {
    let mut raw = Vec::new();
    let result = decompress_into(compressed, LIMIT, &mut raw);
    if declared_size(compressed).is_some_and(|size| size <= LIMIT) {
        let other = snap::raw::Decoder::new().decompress_vec(compressed);
        assert_eq!(result.is_ok(), other.is_ok() && !compressed.is_empty());
        if let Ok(other) = other {
            assert_eq!(raw, other);
        }
    }
    assert!(raw.len() as u64 <= LIMIT.min(22 * compressed.len() as u64));
    if result.is_ok() {
        assert_eq!(declared_size(compressed), Some(raw.len() as u64));
        let (mut again, mut out) = (Vec::new(), Vec::new());
        compress_into(&raw, &mut again);
        assert_eq!(decompress_into(&again, LIMIT, &mut out), Ok(()));
        assert_eq!(raw, out);
    }
});
