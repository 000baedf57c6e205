//! Any bytes as the keys of another member.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memberlist_protocol::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::kv_state(bytes));
