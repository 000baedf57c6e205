//! Times and durations as people read them.

use std::time::{Duration, UNIX_EPOCH};

pub(super) fn rfc3339(unix_ms: i64) -> String {
    let since_epoch = Duration::from_millis(u64::try_from(unix_ms).unwrap_or(0));
    // Up to the year 9999; a stored time beyond that is a mistake.
    match UNIX_EPOCH.checked_add(since_epoch.min(Duration::from_secs(253_402_300_799))) {
        Some(time) => humantime::format_rfc3339_millis(time).to_string(),
        None => String::new(),
    }
}

pub(super) fn ago(now_ms: i64, then_ms: i64) -> String {
    if then_ms == 0 {
        return "unknown".to_owned();
    }
    let ms = now_ms.saturating_sub(then_ms);
    if ms < 0 {
        format!("in {}", rough(ms))
    } else {
        format!("{} ago", rough(ms))
    }
}

/// Two units at most: `1h 5m`, `42.3s`.
pub(super) fn rough(ms: i64) -> String {
    let ms = ms.unsigned_abs();
    let (seconds, minutes, hours, days) = (ms / 1000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    if days > 0 {
        format!("{days}d {}h", hours % 24)
    } else if hours > 0 {
        format!("{hours}h {}m", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes}m {}s", seconds % 60)
    } else {
        format!("{seconds}.{}s", ms % 1000 / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_readable() {
        let texts: Vec<String> = [0, 250, 42_345, 65_000, 3_900_000, 90_000_000]
            .into_iter()
            .map(rough)
            .collect();
        assert_eq!(texts, ["0.0s", "0.2s", "42.3s", "1m 5s", "1h 5m", "1d 1h"]);
        assert_eq!(ago(1000, 0), "unknown");
        assert_eq!(ago(1000, 3000), "in 2.0s");
    }

    #[test]
    fn hostile_times_are_harmless() {
        for time in [i64::MIN, -1, i64::MAX] {
            rfc3339(time);
            ago(0, time);
        }
    }
}
