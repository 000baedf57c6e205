//! What was measured, for people.
use crate::Report;
pub(crate) fn markdown(report: &Report) -> String {
    format!("{report:#?}\n")
}
