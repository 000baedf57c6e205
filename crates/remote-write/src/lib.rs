//! Prometheus remote write 1.0 and 2.0 as bytes: which version a request is, its snappy block,
//! and one scan that finds the HA labels of every series, counts, and cuts the replica label out
//! in place, and what lies outside of a window of time where the caller gives one.
//!
//! It never builds a tree of strings and vectors, never does I/O, knows no clock and no election:
//! the caller judges each distinct (cluster, replica). Work is proportional to the bytes of the
//! request, and heap allocations do not grow with its number of series.
//!
//! ```
//! use remote_write::{Decides, HaLabelNames, Scratch, Verdict, Version};
//!
//! // One series {__replica__="a", cluster="c"} without samples.
//! let mut request = b"\x0a\x21\x0a\x10\x0a\x0b__replica__\x12\x01a\x0a\x0d\x0a\x07cluster\x12\x02c1".to_vec();
//! let names = HaLabelNames { cluster: "cluster", replica: "__replica__" };
//! let rule = names.rule(Decides::EachSeries);
//! let mut scratch = Scratch::default();
//! let scan = remote_write::scan(Version::V1, &mut request, Some(rule), &mut scratch, &mut |_, _| {
//!     Verdict::Keep
//! })?;
//! assert_eq!((scan.groups[0].cluster.as_str(), scan.groups[0].replica.as_str()), ("c1", "a"));
//! assert_eq!(request, b"\x0a\x0f\x0a\x0d\x0a\x07cluster\x12\x02c1");
//! # Ok::<(), remote_write::ScanError>(())
//! ```

mod ages;
mod block;
mod canonical;
mod density;
mod error;
mod groups;
mod media;
mod mover;
mod progress;
#[cfg(any(test, feature = "proto"))]
pub mod proto;
mod scan;
mod schema;
mod symbols;
mod types;
mod v1;
mod v2;
mod window;
mod wire;

pub use ages::{AGE_BOUNDS_S, Ages};
pub use block::{
    DecompressError, compress_into, compress_reusing, declared_size, decompress_into,
    decompress_reusing, plausible_size,
};
pub use error::{Problem, ScanError};
pub use media::{UnsupportedMediaType, Version, check_content_encoding, version_of_content_type};
pub use scan::{Scan, Scratch, scan, scan_in_place};
pub use types::{Counts, Decides, Group, HaLabelNames, HaRule, Mixed, OneLabel, Verdict, Window};
