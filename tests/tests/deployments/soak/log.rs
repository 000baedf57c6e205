//! What the distributors log of what goes wrong.

use std::time::{Duration, SystemTime};

use e2e::Process;

/// What is disturbed may be noticed this much later: by a poll, or by a call that ends then.
const NOTICED: Duration = Duration::from_secs(30);
/// Lines of less than a millisecond before.
const RESOLUTION: Duration = Duration::from_millis(2);

/// Something that was disturbed, and the words of lines about it.
#[derive(Debug)]
pub(super) struct Injected {
    from: SystemTime,
    until: SystemTime,
    words: &'static [&'static str],
}

impl Injected {
    /// It lasted from then until now.
    pub(super) fn since(from: SystemTime, words: &'static [&'static str]) -> Self {
        Self {
            from: from - RESOLUTION,
            until: SystemTime::now() + NOTICED,
            words,
        }
    }

    fn explains(&self, line: &str, at: SystemTime) -> bool {
        (self.from..self.until).contains(&at) && self.words.iter().any(|word| line.contains(word))
    }
}

/// Lines about a store that answers late: the doing of a busy machine. They are counted instead.
const LATE: &str = "took too long";

/// Each warning and error is of something that was disturbed at that time, or of a late store; how many are
/// of the latter alone.
///
/// # Panics
/// With the lines that are not.
pub(super) fn assert_only_injected(process: &Process, injected: &[Injected]) -> usize {
    let log = process.log();
    let (late, unexplained): (Vec<&str>, Vec<&str>) = log
        .lines()
        .filter(|line| !line.contains("level=info") && !line.contains("level=debug"))
        .filter(|line| {
            let time = line
                .strip_prefix("ts=")
                .and_then(|rest| rest.split(' ').next());
            let time = time.and_then(|time| humantime::parse_rfc3339(time).ok());
            !time.is_some_and(|at| injected.iter().any(|one| one.explains(line, at)))
        })
        .partition(|line| line.contains(LATE));
    let lines = unexplained.join("\n");
    assert!(unexplained.is_empty(), "{}:\n{lines}", process.name());
    late.len()
}
