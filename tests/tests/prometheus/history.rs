//! Whose scrapes a series is made of.

use std::collections::BTreeMap;

use e2e::{Labels, Prometheus};

/// A scraped value, float or histogram, as the query API writes it; Unix milliseconds.
pub(crate) type Point = (i64, String);

/// The points of each series, in order of time.
pub(crate) type Points = BTreeMap<Labels, Vec<Point>>;

/// Successive scrapes of one member of the pair, none missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// Index of the member that scraped.
    pub(crate) owner: usize,
    /// Time of its first point, Unix milliseconds.
    pub(crate) first: i64,
    /// Time of its last point, Unix milliseconds.
    pub(crate) last: i64,
    /// Where in the owner's own storage it begins.
    start: usize,
    /// One after where it ends there.
    end: usize,
}

/// What a server holds of the series that come from the target, markers of staleness left out.
///
/// # Errors
/// When the server does not answer, or holds a point twice.
pub(crate) async fn points(server: &Prometheus) -> Result<Points, String> {
    let mut points = Points::new();
    for series in server.raw_samples(r#"{job="target"}"#).await? {
        let labels: Labels =
            serde_json::from_value(series["metric"].clone()).map_err(|e| e.to_string())?;
        let list = |kind: &str| series[kind].as_array().cloned().unwrap_or_default();
        let mut found: Vec<Point> = list("values")
            .iter()
            .chain(&list("histograms"))
            .map(|point| {
                let seconds = point[0].as_f64().unwrap();
                ((seconds * 1000.0).round() as i64, point[1].to_string())
            })
            .collect();
        found.sort();
        if let Some(pair) = found.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(format!("{labels:?}: twice at one time: {pair:?}"));
        }
        if points.insert(labels.clone(), found).is_some() {
            return Err(format!("{labels:?}: listed twice"));
        }
    }
    Ok(points)
}

/// Cuts what is stored of one series into runs. Where both members have a point, it is taken to be
/// of the expected one.
///
/// # Errors
/// If no scraper made a point.
pub(crate) fn runs(
    stored: &[Point],
    scraped: [&[Point]; 2],
    expected: &[usize],
) -> Result<Vec<Run>, String> {
    let mut runs: Vec<Run> = Vec::new();
    for point in stored {
        if let Some(run) = runs.last_mut()
            && scraped[run.owner].get(run.end) == Some(point)
        {
            run.end += 1;
            run.last = point.0;
            continue;
        }
        let likely = expected.get(runs.len()).copied().unwrap_or(0);
        let (owner, start) = [likely, 1 - likely]
            .into_iter()
            .find_map(|owner| {
                let start = scraped[owner].iter().position(|other| other == point)?;
                Some((owner, start))
            })
            .ok_or_else(|| format!("{point:?} has no scraper"))?;
        runs.push(Run {
            owner,
            first: point.0,
            last: point.0,
            start,
            end: start + 1,
        });
    }
    Ok(runs)
}

/// Checks that the runs are those of the `expected` owners in this order, that the first one begins
/// with its owner's first scrape, and that the last one has everything of its owner up to `until`
/// (Unix milliseconds).
///
/// # Errors
/// With what is different.
pub(crate) fn check(
    runs: &[Run],
    scraped: [&[Point]; 2],
    expected: &[usize],
    until: i64,
) -> Result<(), String> {
    let owners: Vec<usize> = runs.iter().map(|run| run.owner).collect();
    if owners != expected {
        return Err(format!("scraped by {owners:?}, not {expected:?}: {runs:?}"));
    }
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else {
        return Ok(());
    };
    if first.start != 0 {
        return Err(format!(
            "the first {} scrapes are missing: {runs:?}",
            first.start
        ));
    }
    match scraped[last.owner].get(last.end) {
        Some(missing) if missing.0 <= until => {
            Err(format!("nothing since {missing:?}, until {until}"))
        }
        _ => Ok(()),
    }
}

#[test]
fn missing_foreign_and_late_points_are_found() {
    let all = |times: &[i64], value: &str| -> Vec<Point> {
        times.iter().map(|time| (*time, value.to_owned())).collect()
    };
    let (a, b) = (all(&[1, 11, 21, 31], "1"), all(&[2, 12, 22, 32, 42], "1"));
    let scraped = [a.as_slice(), b.as_slice()];
    let judge = |stored: &[i64], expected: &[usize], until| {
        let runs = runs(&all(stored, "1"), scraped, expected)?;
        check(&runs, scraped, expected, until)
    };
    assert_eq!(judge(&[1, 11, 21, 31], &[0], 99), Ok(()));
    assert_eq!(judge(&[1, 11, 22, 32, 42], &[0, 1], 99), Ok(()));
    assert_eq!(judge(&[1, 11, 32], &[0, 1], 41), Ok(()));
    assert!(judge(&[1, 11, 32], &[0, 1], 42).is_err(), "late");
    assert!(judge(&[1, 11, 31], &[0], 0).is_err(), "missing within");
    assert!(judge(&[11, 21], &[0], 0).is_err(), "missing at first");
    assert!(judge(&[1, 2, 11], &[0], 0).is_err(), "interleaved");
    assert!(judge(&[1, 5], &[0], 0).is_err(), "by no scraper");
    assert!(judge(&[], &[0], 0).is_err(), "nothing at all");
    assert!(
        runs(&all(&[1], "2"), scraped, &[0]).is_err(),
        "another value"
    );
}
