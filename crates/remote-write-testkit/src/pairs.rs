//! HA pairs that tell by the value of a sample who sent it.

use crate::series::Series;

/// The replicas of a pair.
pub const REPLICAS: [&str; 2] = ["r0", "r1"];

/// A sample whose value is the number of the replica; all of a scrape have one time.
pub fn pair_series(cluster: &str, replica: usize, timestamp: i64) -> Series {
    let labels = [
        ("__name__", "m"),
        ("__replica__", REPLICAS[replica]),
        ("cluster", cluster),
    ];
    Series::floats(&labels, &[(timestamp, replica as f64)])
}
