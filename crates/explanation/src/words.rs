//! Durations and lists in sentences.

use std::time::Duration;

/// A duration for people, of about two figures: `480 ms`, `3.2 s`, `17 s`, `4 min`, `2 h`, `3 d`.
pub fn about(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// The first names of a list, and how many more there are.
pub fn list(all: &[String], most: usize) -> String {
    let named = all.get(..most.min(all.len())).unwrap_or_default();
    match all.len() - named.len() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// From one time (RFC 3339) to another of the same clock; `None` if either is missing or they are
/// reversed.
pub fn between(from: &str, to: &str) -> Option<Duration> {
    let parse = |text| humantime::parse_rfc3339(text).ok();
    parse(to)?.duration_since(parse(from)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_figures() {
        let about = |ms| about(Duration::from_millis(ms));
        for (ms, expected) in [
            (480, "480 ms"),
            (3_240, "3.2 s"),
            (17_900, "17 s"),
            (250_000, "4 min"),
            (7_300_000, "2 h"),
            (300_000_000, "3 d"),
        ] {
            assert_eq!(about(ms), expected);
        }
    }
}
