//! What fuzz targets call of what is not public.

use super::body;
use super::compression::{self, Compression, inflate_lzw, inflate_snappy};
use super::msgpack::{Fault, Reader};

/// Any bytes as an object of each kind: no read goes past the end, and what is missing is missing.
pub fn msgpack(bytes: &[u8]) {
    fn check<T>(bytes: &[u8], read: impl FnOnce(&mut Reader<'_>) -> Result<T, Fault>) {
        let mut reader = Reader::new(bytes);
        let outcome = read(&mut reader);
        assert!(reader.position() <= bytes.len());
        if let Err(Fault::Short { needed }) = outcome {
            assert!(needed > bytes.len());
        }
    }
    check(bytes, |reader| reader.skip().map(|()| reader.position()));
    check(bytes, |reader| reader.bytes().map(drop));
    check(bytes, |reader| reader.text(100));
    check(bytes, |reader| reader.unsigned::<u32>().map(drop));
    check(bytes, |reader| reader.boolean().map(drop));
    check(bytes, body::read_ping);
    check(bytes, body::read_indirect_ping);
    check(bytes, body::read_ack);
    check(bytes, body::read_nack);
    check(bytes, body::read_accusation);
    check(bytes, body::read_alive);
    check(bytes, body::read_node);
    check(bytes, body::read_header);
    check(bytes, body::read_user_header);
    check(bytes, body::read_error);
    check(bytes, |reader| compression::read(reader).map(drop));
}

/// Any bytes as LZW, and as a Snappy block: never more than allowed, and what they hold round-trips.
pub fn lzw(bytes: &[u8]) {
    const LIMIT: usize = 1 << 18;
    for plain in [inflate_lzw(bytes, LIMIT), inflate_snappy(bytes, LIMIT)] {
        let Ok(plain) = plain else { continue };
        assert!(plain.len() <= LIMIT);
        for compression in [Compression::Lzw, Compression::Snappy] {
            let Some(made) = compression::deflate(&plain, compression) else {
                continue;
            };
            assert!(made.len() < plain.len());
            let read = compression::read(&mut Reader::new(made.get(1..).unwrap_or_default()));
            let again = read.map(|compressed| compressed.inflate(LIMIT));
            assert_eq!(again, Ok(Ok(plain.clone())));
        }
    }
}
