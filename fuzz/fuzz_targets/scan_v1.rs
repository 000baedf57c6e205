//! Any bytes as a remote write 1.0 request: the scanner must agree with a full decoder.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use remote_write::proto::reference::disagreement;
use remote_write::{Decides, HaLabelNames, Scratch, Verdict, Version, Window};

/// Short names, which a mutation hits by chance.
const NAMES: HaLabelNames<'_> = HaLabelNames { cluster: "cl", replica: "r" };

thread_local! {
    // Kept between inputs, as a receiver keeps it between requests.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

fn verdict(cluster: &str, replica: &str) -> Verdict {
    match (cluster.len() + 2 * replica.len()) % 4 {
        0 => Verdict::Drop,
        1 => Verdict::Keep,
        2 => Verdict::Within(Window {
            after_ms: cluster.len() as i64 - 2,
            until_ms: replica.len() as i64 * 1_000,
        }),
        _ => Verdict::Later,
    }
}

fuzz_target!(|request: &[u8]| {
    SCRATCH.with_borrow_mut(|scratch| {
        for decides in [Decides::EachSeries, Decides::FirstSeries] {
            let rule = NAMES.rule(decides);
            if let Some(how) = disagreement(Version::V1, request, rule, scratch, &verdict) {
                panic!("{decides:?}: {how}");
            }
        }
    });
});
