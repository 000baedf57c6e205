//! Any bytes as a compound of messages, and as messages to be put into one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memberlist_protocol::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::compound(bytes));
