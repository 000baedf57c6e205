//! Request sequences and what becomes of them: Mimir's rules, recorded with their source, and those of
//! each series for itself.

/// Sources, all in `pkg/distributor/distributor.go` of Mimir at commit a4f0dd536c.
const FIRST: &str = "prePushHaDedupeMiddleware: findHALabels of req.Timeseries[0], one checkSample";
const EITHER_MISSING: &str = "checkSample: an empty cluster or replica is accepted, labels stay, \
                              all samples of the request are counted as non-HA";
const REMOVE: &str = "prePushHaDedupeMiddleware: removeReplica removes the label from every series";
const NO_SERIES: &str = "prePushHaDedupeMiddleware: len(req.Timeseries) == 0 goes on unchecked";
const TOO_MANY: &str =
    "prePushHaDedupeMiddleware: tooManyClustersError discards all of the request";

/// Who is elected before. A series is `cluster/replica`, either of them empty if it has no such label.
const TWO: &[&str] = &["prod/a", "other/b"];
/// As many as may be.
const THREE: &[&str] = &["prod/a", "other/b", "third/c"];

/// What is sent.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Where Mimir's rule stands.
    pub(crate) source: &'static str,
    pub(crate) known: &'static [&'static str],
    pub(crate) sent: &'static [&'static str],
    pub(crate) metadata: bool,
    /// With `ha_tracker_per_sample_dedupe: false`, as Mimir's.
    pub(crate) first: Outcome,
    /// With `true`.
    pub(crate) each: Outcome,
}

/// What becomes of it.
pub(crate) struct Outcome {
    pub(crate) answer: Answer,
    /// What the downstream gets.
    pub(crate) stored: &'static [&'static str],
    pub(crate) metadata: bool,
    /// Clusters that are new.
    pub(crate) elected: &'static [&'static str],
    pub(crate) non_ha: f64,
    /// Samples that were deduplicated.
    pub(crate) deduplicated: f64,
    /// Samples beyond the limit of three clusters.
    pub(crate) too_many: f64,
    pub(crate) mixed: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Stored,
    Deduplicated,
    Refused,
}

/// Nothing is stored, and nothing is counted.
pub(crate) const NOTHING: Outcome = Outcome {
    answer: Answer::Stored,
    stored: &[],
    metadata: false,
    elected: &[],
    non_ha: 0.0,
    deduplicated: 0.0,
    too_many: 0.0,
    mixed: 0.0,
};

const fn stored(stored: &'static [&'static str]) -> Outcome {
    Outcome { stored, ..NOTHING }
}

const fn deduplicated(deduplicated: f64) -> Outcome {
    Outcome {
        answer: Answer::Deduplicated,
        deduplicated,
        ..NOTHING
    }
}

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "elected",
        source: REMOVE,
        known: TWO,
        sent: &["prod/a", "prod/a"],
        metadata: false,
        first: stored(&["prod/", "prod/"]),
        each: stored(&["prod/", "prod/"]),
    },
    Case {
        name: "not elected",
        source: FIRST,
        known: TWO,
        sent: &["prod/b", "prod/b"],
        metadata: false,
        first: deduplicated(2.0),
        each: deduplicated(2.0),
    },
    Case {
        name: "no labels",
        source: EITHER_MISSING,
        known: TWO,
        sent: &["/", "/"],
        metadata: false,
        first: Outcome {
            non_ha: 2.0,
            ..stored(&["/", "/"])
        },
        each: Outcome {
            non_ha: 2.0,
            ..stored(&["/", "/"])
        },
    },
    Case {
        name: "no labels on the first series",
        source: EITHER_MISSING,
        known: TWO,
        sent: &["/", "prod/b", "prod/a"],
        metadata: false,
        first: Outcome {
            non_ha: 3.0,
            mixed: 1.0,
            ..stored(&["/", "prod/b", "prod/a"])
        },
        each: Outcome {
            non_ha: 1.0,
            deduplicated: 1.0,
            ..stored(&["/", "prod/"])
        },
    },
    Case {
        name: "only the replica on the first series",
        source: EITHER_MISSING,
        known: TWO,
        sent: &["/a", "prod/a"],
        metadata: false,
        first: Outcome {
            non_ha: 2.0,
            mixed: 1.0,
            ..stored(&["/a", "prod/a"])
        },
        each: Outcome {
            non_ha: 1.0,
            ..stored(&["/a", "prod/"])
        },
    },
    Case {
        name: "only the cluster on the first series",
        source: EITHER_MISSING,
        known: TWO,
        sent: &["prod/", "prod/b"],
        metadata: false,
        first: Outcome {
            non_ha: 2.0,
            mixed: 1.0,
            ..stored(&["prod/", "prod/b"])
        },
        each: Outcome {
            non_ha: 1.0,
            deduplicated: 1.0,
            ..stored(&["prod/"])
        },
    },
    Case {
        name: "the replica alone, on all",
        source: EITHER_MISSING,
        known: TWO,
        sent: &["/a", "/b"],
        metadata: false,
        first: Outcome {
            non_ha: 2.0,
            ..stored(&["/a", "/b"])
        },
        each: Outcome {
            non_ha: 2.0,
            ..stored(&["/a", "/b"])
        },
    },
    Case {
        name: "the cluster alone, on all",
        source: EITHER_MISSING,
        known: TWO,
        sent: &["prod/", "etcd/"],
        metadata: false,
        first: Outcome {
            non_ha: 2.0,
            ..stored(&["prod/", "etcd/"])
        },
        each: Outcome {
            non_ha: 2.0,
            ..stored(&["prod/", "etcd/"])
        },
    },
    Case {
        name: "the replica alone, behind the elected",
        source: REMOVE,
        known: TWO,
        sent: &["prod/a", "/a", "/"],
        metadata: false,
        first: Outcome {
            mixed: 1.0,
            ..stored(&["prod/", "/", "/"])
        },
        each: Outcome {
            non_ha: 2.0,
            ..stored(&["prod/", "/a", "/"])
        },
    },
    Case {
        name: "no labels, behind one that is not elected",
        source: FIRST,
        known: TWO,
        sent: &["prod/b", "/"],
        metadata: false,
        first: Outcome {
            mixed: 1.0,
            ..deduplicated(2.0)
        },
        each: Outcome {
            non_ha: 1.0,
            deduplicated: 1.0,
            ..stored(&["/"])
        },
    },
    Case {
        name: "own clusters, behind the elected",
        source: FIRST,
        known: TWO,
        sent: &["prod/a", "etcd/a", "kafka/a", "prod/a"],
        metadata: false,
        first: Outcome {
            mixed: 1.0,
            ..stored(&["prod/", "etcd/", "kafka/", "prod/"])
        },
        each: Outcome {
            answer: Answer::Refused,
            elected: &["etcd"],
            too_many: 1.0,
            ..stored(&["prod/", "etcd/", "prod/"])
        },
    },
    Case {
        name: "own clusters, behind one that is not elected",
        source: FIRST,
        known: TWO,
        sent: &["prod/b", "etcd/b"],
        metadata: false,
        first: Outcome {
            mixed: 1.0,
            ..deduplicated(2.0)
        },
        each: Outcome {
            elected: &["etcd"],
            deduplicated: 1.0,
            ..stored(&["etcd/"])
        },
    },
    Case {
        name: "replicas mixed, the elected first",
        source: FIRST,
        known: TWO,
        sent: &["prod/a", "prod/b"],
        metadata: false,
        first: Outcome {
            mixed: 1.0,
            ..stored(&["prod/", "prod/"])
        },
        each: Outcome {
            deduplicated: 1.0,
            ..stored(&["prod/"])
        },
    },
    Case {
        name: "replicas mixed, the elected last",
        source: FIRST,
        known: TWO,
        sent: &["prod/b", "prod/a"],
        metadata: false,
        first: Outcome {
            mixed: 1.0,
            ..deduplicated(2.0)
        },
        each: Outcome {
            deduplicated: 1.0,
            ..stored(&["prod/"])
        },
    },
    Case {
        name: "the first series odd, of a new cluster",
        source: FIRST,
        known: TWO,
        sent: &["etcd/b", "prod/b", "prod/b"],
        metadata: false,
        first: Outcome {
            elected: &["etcd"],
            mixed: 1.0,
            ..stored(&["etcd/", "prod/", "prod/"])
        },
        each: Outcome {
            elected: &["etcd"],
            deduplicated: 2.0,
            ..stored(&["etcd/"])
        },
    },
    Case {
        name: "the first series odd, of a cluster with another elected",
        source: FIRST,
        known: TWO,
        sent: &["other/a", "prod/a", "prod/a"],
        metadata: false,
        first: Outcome {
            mixed: 1.0,
            ..deduplicated(3.0)
        },
        each: Outcome {
            deduplicated: 1.0,
            ..stored(&["prod/", "prod/"])
        },
    },
    Case {
        name: "a cluster too many, first",
        source: TOO_MANY,
        known: THREE,
        sent: &["etcd/a", "prod/a"],
        metadata: false,
        first: Outcome {
            answer: Answer::Refused,
            too_many: 2.0,
            mixed: 1.0,
            ..NOTHING
        },
        each: Outcome {
            answer: Answer::Refused,
            too_many: 1.0,
            ..stored(&["prod/"])
        },
    },
    Case {
        name: "empty",
        source: NO_SERIES,
        known: TWO,
        sent: &[],
        metadata: false,
        first: NOTHING,
        each: NOTHING,
    },
    Case {
        name: "metadata only",
        source: NO_SERIES,
        known: TWO,
        sent: &[],
        metadata: true,
        first: Outcome {
            metadata: true,
            ..NOTHING
        },
        each: Outcome {
            metadata: true,
            ..NOTHING
        },
    },
    Case {
        name: "metadata beside the elected",
        source: FIRST,
        known: TWO,
        sent: &["prod/a"],
        metadata: true,
        first: Outcome {
            metadata: true,
            ..stored(&["prod/"])
        },
        each: Outcome {
            metadata: true,
            ..stored(&["prod/"])
        },
    },
    Case {
        name: "metadata beside one that is not elected",
        source: FIRST,
        known: TWO,
        sent: &["prod/b"],
        metadata: true,
        first: deduplicated(1.0),
        // Nothing says whose it is.
        each: Outcome {
            metadata: true,
            ..deduplicated(1.0)
        },
    },
];
