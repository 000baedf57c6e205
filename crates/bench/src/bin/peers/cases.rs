//! The requests that are measured.

use anyhow::Result;
use remote_write::{Decides, Scratch, Verdict, Version, compress_into, scan_in_place};
use remote_write_testkit::generate::{HA_LABELS, Shape, request};
use remote_write_testkit::headers;
use serde::Serialize;

/// The replica that is not elected.
const LOSING: &[(&str, &str)] = &[("production-eu-west-1", "prometheus-1")];

/// What becomes of the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// All are from the replica that is not elected.
    Deduplicated,
    /// All are from the elected one, and are forwarded.
    Accepted,
    /// Both replicas send, in turn, as an HA pair does.
    Mixed,
}

/// One kind of request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) version: Version,
    pub(crate) series: usize,
    pub(crate) outcome: Outcome,
}

/// Bodies of a case, with what is expected of their answers.
pub(crate) struct Bodies {
    /// Of the elected replica.
    pub(crate) elected: Vec<u8>,
    /// The same, without the replica label, not compressed.
    pub(crate) stripped: Vec<u8>,
    /// Of the other one.
    pub(crate) losing: Vec<u8>,
    /// Size before compression.
    pub(crate) raw: usize,
}

impl Outcome {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Deduplicated => "deduplicated",
            Self::Accepted => "accepted",
            Self::Mixed => "mixed",
        }
    }
}

/// All of them, in the order of the table.
pub(crate) fn all() -> Vec<Case> {
    let mut all = Vec::new();
    for version in [Version::V1, Version::V2] {
        for series in [10, 1_000, 10_000] {
            for outcome in [Outcome::Deduplicated, Outcome::Accepted, Outcome::Mixed] {
                all.push(Case {
                    version,
                    series,
                    outcome,
                });
            }
        }
    }
    all
}

impl Case {
    pub(crate) fn version_name(self) -> &'static str {
        match self.version {
            Version::V1 => "1.0",
            Version::V2 => "2.0",
        }
    }

    pub(crate) fn bodies(self) -> Result<Bodies> {
        let with = |pairs| {
            request(
                self.version,
                Shape {
                    pairs,
                    ..Shape::usual(self.series)
                },
            )
        };
        let compressed = |raw: &[u8]| {
            let mut out = Vec::new();
            compress_into(raw, &mut out);
            out
        };
        let elected = with(Shape::usual(1).pairs);
        let mut stripped = elected.clone();
        let scan = scan_in_place(
            self.version,
            &mut stripped,
            Some(HA_LABELS.rule(Decides::FirstSeries)),
            &mut Scratch::default(),
            &mut |_, _| Verdict::Keep,
        )?;
        stripped.truncate(scan.length);
        Ok(Bodies {
            raw: elected.len(),
            elected: compressed(&elected),
            losing: compressed(&with(LOSING)),
            stripped,
        })
    }

    /// Requests to send in turn, each complete, with the statuses that their answers may have.
    pub(crate) fn requests(self, path: &str, bodies: &Bodies) -> Vec<(Vec<u8>, [u16; 2])> {
        let whole = |body: &[u8]| whole(path, "tenant-1", self.version, body);
        let losing = || (whole(&bodies.losing), [202, 202]);
        let elected = || (whole(&bodies.elected), [200, 204]);
        match self.outcome {
            Outcome::Deduplicated => vec![losing()],
            Outcome::Accepted => vec![elected()],
            Outcome::Mixed => vec![elected(), losing()],
        }
    }
}

/// A complete request, as Prometheus sends it.
pub(crate) fn whole(path: &str, tenant: &str, version: Version, body: &[u8]) -> Vec<u8> {
    let mut whole = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in headers(version) {
        whole += &format!("{name}: {value}\r\n");
    }
    whole += &format!("User-Agent: Prometheus/3.5.0\r\nX-Scope-OrgID: {tenant}\r\n");
    whole += &format!("Content-Length: {}\r\n\r\n", body.len());
    [whole.as_bytes(), body].concat()
}
