//! Any bytes as a packet of gossip, and as a message: what passes our checks, chitchat can decode.
#![no_main]

use kv_memberlist::fuzzing::open_and_inspect;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| open_and_inspect(packet));
