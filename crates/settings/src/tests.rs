//! Durations, sizes and the other kinds of values.

use std::time::Duration;

use proptest::prelude::*;

use crate::{Kind, Secret, SecretUrl, format_duration, parse_bool, parse_duration, parse_size};

#[test]
fn durations_are_gos() {
    let cases = [
        ("0", 0, "0s"),
        ("0s", 0, "0s"),
        ("1ns", 1, "1ns"),
        ("1.5us", 1_500, "1.5µs"),
        ("1µs", 1_000, "1µs"),
        ("500ms", 500_000_000, "500ms"),
        ("1.5s", 1_500_000_000, "1.5s"),
        (".5s", 500_000_000, "500ms"),
        ("1m30s", 90_000_000_000, "1m30s"),
        ("90s", 90_000_000_000, "1m30s"),
        ("1h", 3_600_000_000_000, "1h0m0s"),
        ("1h2m3.5s", 3_723_500_000_000, "1h2m3.5s"),
        ("1d", 86_400_000_000_000, "24h0m0s"),
    ];
    for (text, nanos, printed) in cases {
        let duration = parse_duration(text).unwrap();
        assert_eq!(duration.as_nanos(), nanos, "{text}");
        assert_eq!(format_duration(duration), printed, "{text}");
        assert_eq!(parse_duration(printed), Some(duration), "{text}");
    }
    let longest = parse_duration("9223372036854775807ns").unwrap();
    assert_eq!(longest, Duration::from_nanos(i64::MAX as u64));
    for text in [
        "",
        "1",
        "-1s",
        "s",
        ".s",
        "1.2.3s",
        "1x",
        "1 s",
        "1s 2",
        "9223372036854775808ns",
        "99999999999999999999999999999999999999999h",
        "５s",
        "1sé",
    ] {
        assert_eq!(parse_duration(text), None, "{text:?}");
    }
}

#[test]
fn sizes_have_units() {
    let cases = [
        ("0", 0),
        ("1024", 1024),
        ("100MiB", 104_857_600),
        ("100MB", 100_000_000),
        ("1GiB", 1 << 30),
        ("1.5 kib", 1536),
        ("7B", 7),
        ("18446744073709551615", u64::MAX),
    ];
    for (text, bytes) in cases {
        assert_eq!(parse_size(text), Some(bytes), "{text}");
    }
    for text in [
        "",
        "MiB",
        "-1",
        "1.5",
        "1XB",
        "18446744073709551616",
        "99999999TiB",
        "1e3",
    ] {
        assert_eq!(parse_size(text), None, "{text:?}");
    }
}

#[test]
fn booleans_are_gos_and_yamls() {
    for text in ["true", "True", "TRUE", "t", "1", "yes", "on"] {
        assert_eq!(parse_bool(text), Some(true), "{text}");
    }
    for text in ["false", "F", "0", "no", "Off"] {
        assert_eq!(parse_bool(text), Some(false), "{text}");
    }
    assert_eq!(parse_bool("2"), None);
}

#[test]
fn kinds_refuse_what_they_are_not() {
    let refused = [
        (Kind::Port, "65536"),
        (Kind::Port, "-1"),
        (Kind::Unsigned, "1.0"),
        (Kind::Float, "-0.1"),
        (Kind::Float, "NaN"),
        (Kind::Float, "inf"),
        (Kind::Address, "1.2.3"),
        (Kind::Addresses, "127.0.0.1,host"),
        (Kind::Url, "example.com"),
        (Kind::Url, "http://"),
        (Kind::Url, "http://a:99999/"),
        (Kind::HeaderName, "a:b"),
        (Kind::OneOf(&["a"]), "A"),
    ];
    for (kind, text) in refused {
        assert!(kind.parse(text).is_none(), "{kind:?} {text}");
    }
    let taken = [
        (Kind::Address, "::1"),
        (Kind::Address, ""),
        (Kind::Address, "localhost"),
        (Kind::Addresses, ""),
        (Kind::Addresses, "localhost, ::1"),
        (Kind::Url, "https://[::1]:1/x?y=z"),
        (Kind::HeaderName, ""),
        (Kind::Float, "1e6"),
    ];
    for (kind, text) in taken {
        assert!(kind.parse(text).is_some(), "{kind:?} {text}");
    }
}

#[test]
fn secrets_show_only_on_demand() {
    let secret = Secret::new("hunter2");
    assert_eq!(secret.expose(), "hunter2");
    assert_eq!(format!("{secret} {secret:?}"), "******** ********");
    assert_eq!(serde_json::to_string(&secret).unwrap(), "\"********\"");
    assert_eq!(
        serde_json::to_string(&Secret::default()).unwrap(),
        "\"\"",
        "nothing to hide"
    );

    let url = SecretUrl::new("http://user:p@ss/word@host/path?x=1");
    assert_eq!(format!("{url}"), "http://********@host/path?********");
    assert_eq!(
        format!("{:?}", SecretUrl::new("http://host/path")),
        "http://host/path"
    );
}

proptest! {
    #[test]
    fn durations_print_as_they_parse(nanos in 0..=i64::MAX as u64) {
        let duration = Duration::from_nanos(nanos);
        prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
    }

    #[test]
    fn any_text_is_a_duration_and_a_size_or_not(text in "[0-9.nuµmshdwKMGTiB]{0,40}|.{0,20}") {
        let _ = (parse_duration(&text), parse_size(&text));
    }
}
