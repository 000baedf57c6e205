//! The rules about the settings of the multi store, for when it is used.

use super::errors::Findings;
use super::store_model::{MultiSettings, StoreKind};
use super::validate::OriginOf;

const SECTION: &str = "distributor.ha_tracker.kvstore.multi";

/// Checks that there are two stores, and two different ones.
pub(super) fn check(settings: &MultiSettings, origin_of: OriginOf<'_>, findings: &mut Findings) {
    let mut error = |name: &str, problem: String| {
        let path = format!("{SECTION}.{name}");
        // What is not set is a mistake of what made it necessary.
        let origin = match problem.starts_with("is missing") {
            true => origin_of("distributor.ha_tracker.kvstore.store"),
            false => origin_of(&path),
        };
        findings.error(&origin, &path, problem);
    };
    let mut sound = true;
    for (name, value, which) in [
        ("primary", &settings.primary, "the store that is used now"),
        (
            "secondary",
            &settings.secondary,
            "the store to move to, such as memberlist",
        ),
    ] {
        if let Some(problem) = problem(value, which) {
            error(name, problem);
            sound = false;
        }
    }
    if sound && settings.primary == settings.secondary {
        let problem = format!(
            "got {:?}, which is {SECTION}.primary too; the two must differ",
            settings.secondary
        );
        error("secondary", problem);
    }
}

fn problem(value: &str, which: &str) -> Option<String> {
    let choices = StoreKind::SINGLE.map(StoreKind::as_str).join(", ");
    match value {
        "" => Some(format!(
            "is missing, and kvstore.store is multi; name {which}: one of {choices}"
        )),
        "multi" => Some(format!(
            "got \"multi\", but a multi store cannot be made of multi stores; must be one of {choices}"
        )),
        other if StoreKind::single(other).is_none() => {
            Some(format!("got {other:?}; must be one of {choices}"))
        }
        _ => None,
    }
}
