//! `/api/v1/status/buildinfo`, as Prometheus has it.

use serde::{Deserialize, Serialize};

/// `/api/v1/status/buildinfo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildInfo {
    /// About the build.
    pub data: BuildData,
    /// `success`.
    pub status: String,
}

/// A build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildData {
    /// The program.
    pub application: String,
    /// None are told.
    pub features: Features,
    /// Its commit.
    pub revision: String,
    /// Its version.
    pub version: String,
}

/// Features of the program; there are none to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Features {}
