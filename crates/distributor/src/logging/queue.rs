//! The queue of log lines for standard error, which may no longer be read.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

/// Bytes of waiting lines; the writer can hold as many again. A burst of elections is a line of
/// some 200 bytes for each.
const MAX_WAITING: usize = 4 << 20;
/// Larger buffers than this are given back once they are written, bytes.
const KEPT: usize = 64 << 10;
/// Pause between two attempts to write to a descriptor that another program has made non-blocking.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Dropped lines of the whole process: there is one log.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Log lines dropped since the start of the process.
pub(crate) fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Takes lines and never waits for their reader: a thread of its own writes them.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// After those that wait.
    dropped: u64,
    is_writing: bool,
}

impl State {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.dropped == 0
    }
}

impl Queue {
    /// A queue whose lines go to `write`, which may block, and may write a part. After lines had to
    /// be dropped, the line `tell` says how many.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn start(
        write: impl FnMut(&[u8]) -> rustix::io::Result<usize> + Send + 'static,
        tell: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self::default());
        let ours = Arc::clone(&queue);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || ours.write_for_ever(write, tell))?;
        Ok(queue)
    }

    /// Takes a line, or drops it when too much waits.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.dropped > 0 || state.waiting.len() + line.len() > MAX_WAITING {
            state.dropped += 1;
            DROPPED.fetch_add(1, Ordering::Relaxed);
        } else {
            state.waiting.extend_from_slice(line);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until everything is written, for no longer than `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let is_busy = |state: &mut State| !state.is_empty() || state.is_writing;
        // Lines left after the limit are lost, because standard error is not read.
        let _ = self.changed.wait_timeout_while(self.lock(), limit, is_busy);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A line is complete or absent, even after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_for_ever(
        &self,
        mut write: impl FnMut(&[u8]) -> rustix::io::Result<usize>,
        tell: impl Fn(u64) -> String,
    ) {
        let mut lines = Vec::new();
        loop {
            let state = self.lock();
            let waited = self.changed.wait_while(state, |state| state.is_empty());
            let mut state = waited.unwrap_or_else(PoisonError::into_inner);
            state.is_writing = true;
            std::mem::swap(&mut lines, &mut state.waiting);
            let dropped = std::mem::take(&mut state.dropped);
            drop(state);

            write_all(&lines, &mut write);
            if dropped > 0 {
                write_all(tell(dropped).as_bytes(), &mut write);
            }
            lines.clear();
            lines.shrink_to(KEPT);
            self.lock().is_writing = false;
            self.changed.notify_all();
        }
    }
}

/// Writes all, or counts the lines that cannot be written.
#[allow(
    clippy::disallowed_methods,
    reason = "the log's own thread, which runs nothing else, and which there is no event for"
)]
fn write_all(mut bytes: &[u8], write: &mut impl FnMut(&[u8]) -> rustix::io::Result<usize>) {
    while !bytes.is_empty() {
        match write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => thread::sleep(RETRY_PAUSE),
            // A closed pipe, a full disk: this cannot be reported.
            Err(_) => {
                let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
                DROPPED.fetch_add(lines as u64, Ordering::Relaxed);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_reader_who_stops_costs_lines_and_no_time() {
        let (gate, opened) = mpsc::channel::<()>();
        let (taken, written) = mpsc::channel();
        let write = move |bytes: &[u8]| {
            // Stuck for as long as the test wants.
            let _ = opened.recv();
            let part = &bytes[..bytes.len().min(1 << 20)];
            taken.send(part.to_vec()).unwrap();
            Ok(part.len())
        };
        let queue = Queue::start(write, |dropped| format!("dropped {dropped}\n")).unwrap();
        let line = [b"x".repeat((1 << 20) - 1), b"\n".to_vec()].concat();
        queue.push(b"first\n");
        queue.flush(Duration::from_millis(1));
        // The writer has the first, or will take it together with what follows.
        for _ in 0..20 {
            queue.push(&line);
        }
        queue.push(b"late\n");
        let before = dropped();
        assert!(before >= 16, "{before}");
        drop(gate);
        queue.flush(Duration::from_secs(60));
        let text: Vec<u8> = written.try_iter().flatten().collect();
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("first\n"), "the order is lost");
        assert!(!text.contains("late"), "a line after dropped ones");
        let kept = text.lines().filter(|line| line.starts_with('x')).count();
        assert!((3..=4).contains(&kept), "{kept}");
        let told = text.lines().last().unwrap();
        assert_eq!(told, format!("dropped {}", 21 - kept));
        queue.push(b"again\n");
        queue.flush(Duration::from_secs(60));
        let after: Vec<u8> = written.try_iter().flatten().collect();
        assert_eq!(after, b"again\n");
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let mut errors = [Errno::INTR, Errno::AGAIN, Errno::PIPE].into_iter();
        let before = dropped();
        write_all(b"a\nb\n", &mut |_| {
            Err(errors.next().unwrap_or(Errno::NOSPC))
        });
        assert!(dropped() >= before + 2);
        assert_eq!(errors.next(), None);
    }
}
