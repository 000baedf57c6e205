//! Reading the files of the runtime configuration, which may be gzipped.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::read::MultiGzDecoder;
use tokio::task::spawn_blocking;

use super::settling::Read;
use crate::errors::Findings;

/// At the start, a file that was changed this recently may be in the middle of a write.
const FRESH: Duration = Duration::from_secs(2);
/// Time between two reads of such a file, until both are equal.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Most waits of the start for files that keep changing: 10 s in total.
const MAX_READS: u32 = 20;

/// What a gzip stream begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Most that a gzipped file may expand to, 1 GiB: some thousand times the overrides of large sites.
const MOST_EXPANDED: u64 = 1 << 30;

/// A file as it is on disk.
struct Raw {
    file: String,
    bytes: Vec<u8>,
    /// Device and inode.
    identity: (u64, u64),
}

/// Reads all; those that cannot be read are in `findings`.
pub(super) async fn read(files: &[PathBuf], findings: &mut Findings) -> Vec<Read> {
    let (raw, _) = read_fresh(files, findings).await;
    decode(raw, findings).await
}

/// The files while no program writes them.
pub(super) async fn read_settled(files: &[PathBuf], findings: &mut Findings) -> Vec<Read> {
    let (mut before, mut is_fresh) = read_fresh(files, findings).await;
    let mut reads = 0;
    while is_fresh && findings.errors.is_empty() {
        tokio::time::sleep(LOOK_AGAIN).await;
        let (now, _) = read_fresh(files, findings).await;
        reads += 1;
        is_fresh = !now
            .iter()
            .map(|raw| &raw.bytes)
            .eq(before.iter().map(|raw| &raw.bytes));
        before = now;
        if is_fresh && reads == MAX_READS {
            let problem = "keeps changing; is another program writing it?";
            findings.error("runtime_config.file", "", problem);
        }
    }
    decode(before, findings).await
}

/// And whether one of them was changed a moment ago.
async fn read_fresh(files: &[PathBuf], findings: &mut Findings) -> (Vec<Raw>, bool) {
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
            Ok((bytes, identity, changed)) => {
                is_fresh |= changed.elapsed().map_or(true, |age| age < FRESH);
                all.push(Raw {
                    file,
                    bytes,
                    identity,
                });
            }
            Err(error) => cannot_be_read(&file, &error, findings),
        }
    }
    (all, is_fresh)
}

fn cannot_be_read(file: &str, error: &io::Error, findings: &mut Findings) {
    let problem = format!("cannot be read: {error}; check runtime_config.file");
    findings.error(file, "", problem);
}

/// Content, device and inode, and when it was changed.
fn read_one(path: &Path) -> io::Result<(Vec<u8>, (u64, u64), SystemTime)> {
    let mut file = File::open(path)?;
    let about = file.metadata()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok((bytes, (about.dev(), about.ino()), about.modified()?))
}

/// The texts of those that have one.
async fn decode(all: Vec<Raw>, findings: &mut Findings) -> Vec<Read> {
    let work = spawn_blocking(move || {
        all.into_iter()
            .map(|raw| (raw.file, text(raw.bytes), raw.identity))
            .collect::<Vec<_>>()
    });
    let mut read = Vec::new();
    for (file, text, identity) in work.await.unwrap_or_default() {
        match text {
            Ok(text) => read.push(Read {
                file,
                text,
                identity,
            }),
            Err(error) => cannot_be_read(&file, &error, findings),
        }
    }
    read
}

/// Expanded if it is gzipped, whatever its name says.
fn text(bytes: Vec<u8>) -> io::Result<String> {
    if !bytes.starts_with(&GZIP) {
        return String::from_utf8(bytes).map_err(|_| invalid("it is not text in UTF-8"));
    }
    let mut text = String::new();
    let mut decoder = MultiGzDecoder::new(bytes.as_slice()).take(MOST_EXPANDED + 1);
    decoder
        .read_to_string(&mut text)
        .map_err(|error| invalid(&format!("it begins as gzip, but is not whole: {error}")))?;
    if text.len() as u64 > MOST_EXPANDED {
        return Err(invalid("it expands to more than 1 GiB"));
    }
    Ok(text)
}

fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.to_owned())
}
