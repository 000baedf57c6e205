//! Values that are derived.

use super::Process;

#[test]
fn a_limit_is_derived_or_a_number_or_none() {
    const SETTING: &str = "-distributor.instance-limits.max-inflight-push-requests-bytes";
    let of = |text: &str| {
        let flag = format!("{SETTING}={text}");
        let config = Process {
            flags: &[&flag],
            ..Process::default()
        }
        .config();
        config
            .distributor
            .push
            .instance_limits
            .max_inflight_push_requests_bytes
    };
    assert_eq!(of("auto"), None);
    assert_eq!(of("0"), Some(0));
    assert_eq!(of("256MiB"), Some(256 << 20));
    assert_eq!(
        Process::default()
            .config()
            .distributor
            .push
            .instance_limits
            .max_inflight_push_requests_bytes,
        None
    );
    let flag = format!("{SETTING}=half");
    let refused = Process {
        flags: &[&flag],
        ..Process::default()
    }
    .start()
    .unwrap_err();
    assert!(
        refused.to_string().contains("must be auto, or a size"),
        "{refused}"
    );
}
