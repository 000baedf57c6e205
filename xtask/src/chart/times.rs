//! How long a pod may take to end, computed again from the configuration in effect.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::manifests::scalar;

/// Settings that say how long the distributor may take to end, one after the other.
const ENDING: &[&str] = &[
    "shutdown_delay",
    "graceful_shutdown_timeout",
    "mirror_timeout",
    "leave_timeout",
];
/// Between the end of the process and that of the pod.
const RESERVE: Duration = Duration::from_secs(10);

/// The grace period of the rendered pods is what the distributor needs that has this configuration,
/// printed with every setting.
pub(super) fn check(rendered: &str, config: &str) -> Result<()> {
    let period = scalar(rendered, "terminationGracePeriodSeconds")
        .and_then(|text| text.parse().ok())
        .map(Duration::from_secs)
        .context("no terminationGracePeriodSeconds")?;
    let mut needed = RESERVE;
    for setting in ENDING {
        let text = scalar(config, setting)
            .with_context(|| format!("-print.config does not print {setting}"))?;
        needed += duration(text).with_context(|| format!("{setting}: {text} is no duration"))?;
    }
    let rounded = Duration::from_secs(needed.as_millis().div_ceil(1000).try_into()?);
    ensure!(
        period == rounded,
        "terminationGracePeriodSeconds is {period:?}; the configuration needs {needed:?}"
    );
    Ok(())
}

/// Such as `1m30s` or `500ms`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let number: u32 = rest[..digits].parse().ok()?;
        let unit_length = rest[digits..]
            .find(|letter: char| letter.is_ascii_digit())
            .unwrap_or(rest.len() - digits);
        let unit = match &rest[digits..digits + unit_length] {
            "h" => Duration::from_secs(3600),
            "m" => Duration::from_secs(60),
            "s" => Duration::from_secs(1),
            "ms" => Duration::from_millis(1),
            _ => return None,
        };
        sum += unit * number;
        rest = &rest[digits + unit_length..];
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("1h1m30s"), Some(Duration::from_secs(3690)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("5"), None);
        assert_eq!(duration("s"), None);
    }

    #[test]
    fn the_period_is_rounded_up() {
        let config = "shutdown_delay: 0s\nserver:\n  graceful_shutdown_timeout: 30s\n\
                      multi:\n  mirror_timeout: 2s\nmemberlist:\n  leave_timeout: 500ms\n";
        let manifest = |seconds: u32| format!("terminationGracePeriodSeconds: {seconds}\n");
        assert!(check(&manifest(43), config).is_ok());
        let error = check(&manifest(42), config).unwrap_err().to_string();
        assert!(error.contains("42.5s"), "{error}");
        assert!(check("", config).is_err());
    }
}
