//! Any bytes as a packet of memberlist's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memberlist_protocol::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::packet(bytes));
