//! Any bytes as a stream of memberlist's, in pieces of the size of the first byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memberlist_protocol::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::stream(bytes));
