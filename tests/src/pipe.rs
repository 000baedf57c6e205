//! [`Pipe`]: a pipe that a process writes to and that is not read.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;

/// `O_NONBLOCK` of Linux.
const NONBLOCK: i32 = 0o4000;

/// A pipe with a name, whose both ends the test holds open.
#[derive(Debug)]
pub struct Pipe(File);

impl Pipe {
    /// Makes one at this path.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn make(path: &Path) -> Self {
        let status = Command::new("mkfifo").arg(path).status().unwrap();
        assert!(status.success(), "mkfifo {}: {status}", path.display());
        let mut options = OpenOptions::new();
        // Otherwise the test would be the one that waits.
        options.read(true).write(true).custom_flags(NONBLOCK);
        Self(options.open(path).unwrap())
    }

    /// Fills it, so that writers wait. Returns the number of bytes that this took.
    pub fn fill(&mut self) -> usize {
        let mut filled = 0;
        while let Ok(written) = self.0.write(&[b'-'; 4096]) {
            filled += written;
        }
        filled
    }

    /// Reads all that is there.
    pub fn drain(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut part = vec![0; 1 << 16];
        while let Ok(read) = self.0.read(&mut part) {
            all.extend_from_slice(&part[..read]);
        }
        all
    }
}
