//! The pages in a real browser: headless Chromium.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;
mod looks;
mod tables;
mod works;

use e2e::{Distributor, Look, Tab};

const TRACKER: &str = "/distributor/ha_tracker";

const DESKTOP: Look = Look {
    width: 1280,
    height: 900,
    is_dark: false,
};

const PHONE: Look = Look {
    width: 390,
    height: 844,
    is_dark: false,
};

/// Nothing was written to the console, and nothing was fetched from elsewhere.
#[track_caller]
fn assert_no_problems(tab: &Tab, distributor: &Distributor) {
    let host = distributor.http_address().to_string();
    let problems = tab.problems(&host);
    assert!(problems.is_empty(), "{problems:#?}");
}
