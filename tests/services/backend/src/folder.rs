//! A store in a folder, for the processes of one machine: each key is a file.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use kv_core::{ByteStore, Failure, WatchEvent, WatchScope};

/// Time between two looks of a watch at the folder.
const POLL: Duration = Duration::from_millis(50);

type Entries = BTreeMap<String, (Vec<u8>, u64)>;

/// A folder that exists. Names of its files are keys in hexadecimal; content begins with a version.
#[derive(Clone)]
pub struct Folder(pub PathBuf);

impl Folder {
    fn file(&self, key: &str) -> PathBuf {
        let name: String = key.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.0.join(name)
    }

    /// Writers of all processes take turns: the lock lasts until the file is dropped.
    fn lock(&self) -> io::Result<File> {
        let file = File::create(self.0.join("lock"))?;
        file.lock().map(|()| file)
    }

    /// Under the lock. No version is used twice, even for a key that was deleted.
    fn replace(&self, key: &str, value: &[u8]) -> io::Result<()> {
        let (counter, draft) = (self.0.join("counter"), self.0.join("draft"));
        let last = fs::read_to_string(&counter).unwrap_or_default();
        let next = last.parse().unwrap_or(0u64) + 1;
        fs::write(counter, next.to_string())?;
        // Readers do not take the lock: they see the old file or the new one.
        fs::write(&draft, [&next.to_le_bytes(), value].concat())?;
        fs::rename(draft, self.file(key))
    }

    fn entries(&self, scope: &WatchScope) -> io::Result<Entries> {
        let mut entries = Entries::new();
        for file in fs::read_dir(&self.0)? {
            let key = key(&file?.file_name()).filter(|key| scope.covers(key));
            if let Some(key) = key {
                entries.extend(read(&self.file(&key))?.map(|entry| (key, entry)));
            }
        }
        Ok(entries)
    }
}

fn read(file: &Path) -> io::Result<Option<(Vec<u8>, u64)>> {
    let content = match fs::read(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        content => content.unwrap_or_default(),
    };
    let parts = content.split_first_chunk();
    Ok(parts.map(|(version, value)| (value.to_vec(), u64::from_le_bytes(*version))))
}

/// The key of a file, unless it is another program's.
fn key(name: &std::ffi::OsStr) -> Option<String> {
    let name = name
        .to_str()
        .filter(|name| name.is_ascii() && name.len() % 2 == 0)?;
    let byte = |at| u8::from_str_radix(&name[at..at + 2], 16).ok();
    String::from_utf8(
        (0..name.len())
            .step_by(2)
            .map(byte)
            .collect::<Option<_>>()?,
    )
    .ok()
}

/// Files block, so not on a thread of the runtime. A dropped call still ends as a whole.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let ended = tokio::task::spawn_blocking(call).await;
    ended
        .map_err(Failure::permanent)?
        .map_err(Failure::transient)
}

#[async_trait]
impl ByteStore for Folder {
    type Version = u64;

    fn name(&self) -> &'static str {
        "folder"
    }

    fn refuses(&self, key: &str) -> Option<&'static str> {
        (key.len() > 120).then_some("it is longer than 120 bytes")
    }

    async fn read(&self, key: &str) -> Result<Option<(Vec<u8>, u64)>, Failure> {
        let file = self.file(key);
        blocking(move || read(&file)).await
    }

    async fn write(
        &self,
        key: &str,
        value: Option<Vec<u8>>,
        version: Option<u64>,
    ) -> Result<bool, Failure> {
        let (folder, key) = (self.clone(), key.to_owned());
        blocking(move || {
            let _lock = folder.lock()?;
            let file = folder.file(&key);
            if read(&file)?.map(|(_, version)| version) != version {
                return Ok(false);
            }
            match value {
                Some(value) => folder.replace(&key, &value)?,
                None => fs::remove_file(file)?,
            }
            Ok(true)
        })
        .await
    }

    async fn remove(&self, key: &str) -> Result<(), Failure> {
        while let Some((_, version)) = self.read(key).await? {
            self.write(key, None, Some(version)).await?;
        }
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let (folder, scope) = (self.clone(), WatchScope::Prefix(prefix.to_owned()));
        let entries = blocking(move || folder.entries(&scope)).await?;
        Ok(entries.into_keys().collect())
    }

    fn watch(&self, scope: WatchScope) -> BoxStream<'static, WatchEvent<Vec<u8>>> {
        let begin = (self.clone(), scope, None, VecDeque::new());
        stream::unfold(begin, |(folder, scope, mut known, mut events)| async move {
            while events.is_empty() {
                let (reader, wanted) = (folder.clone(), scope.clone());
                if let Ok(now) = blocking(move || reader.entries(&wanted)).await {
                    events = changes(known.as_ref(), &now);
                    known = Some(now);
                }
                if events.is_empty() {
                    tokio::time::sleep(POLL).await;
                }
            }
            Some((events.pop_front()?, (folder, scope, known, events)))
        })
        .boxed()
    }
}

/// What a watcher must learn; `Synced` after all that is there when it begins.
fn changes(known: Option<&Entries>, now: &Entries) -> VecDeque<WatchEvent<Vec<u8>>> {
    let nothing = Entries::new();
    let before = known.unwrap_or(&nothing);
    let gone = before.keys().filter(|key| !now.contains_key(*key));
    let new = now
        .iter()
        .filter(|(key, entry)| before.get(*key) != Some(entry));
    new.map(|(key, (value, _))| WatchEvent::Put(key.clone(), value.clone()))
        .chain(gone.map(|key| WatchEvent::Deleted(key.clone())))
        .chain(known.is_none().then_some(WatchEvent::Synced))
        .collect()
}
