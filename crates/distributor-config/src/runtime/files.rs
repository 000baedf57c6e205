//! Reading the files of the runtime configuration.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::task::spawn_blocking;

use super::settling::Read;
use crate::errors::Findings;

/// At the start, a file that was changed this recently may be in the middle of a write.
const FRESH: Duration = Duration::from_secs(2);
/// Time between two looks at such a file, until it is the same at both.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// The start waits this often for files that change with each look, 10 s.
const LOOKS: u32 = 20;

/// Reads all; those that cannot be read are in `findings`.
pub(super) async fn read(files: &[PathBuf], findings: &mut Findings) -> Vec<Read> {
    let (read, _) = read_fresh(files, findings).await;
    read
}

/// As they are when nobody writes them.
pub(super) async fn read_settled(files: &[PathBuf], findings: &mut Findings) -> Vec<Read> {
    let (mut before, mut is_fresh) = read_fresh(files, findings).await;
    let mut looks = 0;
    while is_fresh && findings.errors.is_empty() {
        tokio::time::sleep(LOOK_AGAIN).await;
        let (now, _) = read_fresh(files, findings).await;
        looks += 1;
        is_fresh = !now
            .iter()
            .map(|read| &read.text)
            .eq(before.iter().map(|read| &read.text));
        before = now;
        if is_fresh && looks == LOOKS {
            let problem = "changes all the time; is another program writing it?";
            findings.error("runtime_config.file", "", problem);
        }
    }
    before
}

/// And whether one of them was changed a moment ago.
async fn read_fresh(files: &[PathBuf], findings: &mut Findings) -> (Vec<Read>, bool) {
    let files = files.to_vec();
    let work = spawn_blocking(move || {
        files
            .into_iter()
            .map(|path| (path.display().to_string(), read_one(&path)))
            .collect::<Vec<_>>()
    });
    let mut all = Vec::new();
    let mut is_fresh = false;
    for (file, result) in work.await.unwrap_or_default() {
        match result {
            Ok((text, identity, changed)) => {
                is_fresh |= changed.elapsed().map_or(true, |age| age < FRESH);
                all.push(Read {
                    file,
                    text,
                    identity,
                });
            }
            Err(error) => {
                let problem = format!("cannot be read: {error}; check runtime_config.file");
                findings.error(&file, "", problem);
            }
        }
    }
    (all, is_fresh)
}

/// Text, device and inode, and when it was changed.
fn read_one(path: &Path) -> io::Result<(String, (u64, u64), SystemTime)> {
    let mut file = File::open(path)?;
    let about = file.metadata()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok((text, (about.dev(), about.ino()), about.modified()?))
}
