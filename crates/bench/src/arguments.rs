//! The command line of the benchmarks.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::measure::Effort;

/// What a benchmark is to do.
pub struct Arguments {
    /// Where the measurements go besides the table.
    json: Option<PathBuf>,
    /// How long it may take.
    pub effort: Effort,
}

impl Arguments {
    /// `[--json FILE] [--quick]`.
    pub fn parse() -> Result<Self> {
        Self::parse_from(std::env::args().skip(1))
    }

    /// The same, of what a program with arguments of its own has left over.
    pub fn parse_from(arguments: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut this = Self {
            json: None,
            effort: Effort::Full,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--json" => {
                    this.json = Some(arguments.next().context("--json needs a file")?.into());
                }
                "--quick" => this.effort = Effort::Quick,
                other => bail!("unknown argument {other}; known: [--json FILE] [--quick]"),
            }
        }
        Ok(this)
    }

    /// Writes the measurements, if they are wanted.
    pub fn write(&self, report: &impl Serialize) -> Result<()> {
        let Some(path) = &self.json else {
            return Ok(());
        };
        let text = serde_json::to_string_pretty(report)?;
        std::fs::write(path, text + "\n").with_context(|| path.display().to_string())
    }
}
