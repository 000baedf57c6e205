//! Any bytes as the fields of each of memberlist's messages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memberlist_protocol::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::msgpack(bytes));
