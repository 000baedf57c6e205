//! The keys that packets are encrypted with.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;
use sha2::{Digest, Sha256};

/// Bytes of a key.
pub(crate) const KEY_SIZE: usize = 32;
/// Bytes of the id that says in a packet which key encrypted it.
pub(crate) const KEY_ID_SIZE: usize = 4;
/// Most keys of a keyring: a change of keys needs two.
pub(crate) const MAX_KEYS: usize = 8;
/// A longer file is not a key.
const MAX_FILE: u64 = 1024;
const HOW: &str = "make a key with `openssl rand -base64 32`";

/// Id of a key: the same on every member, and it reveals nothing about the key.
pub(crate) type KeyId = [u8; KEY_ID_SIZE];

/// The keys that packets are encrypted with: the first encrypts, all decrypt. Shows ids only.
#[derive(Clone, Default, PartialEq)]
pub struct Keyring {
    keys: Vec<Key>,
}

#[derive(Clone, PartialEq)]
pub(crate) struct Key {
    pub(crate) id: KeyId,
    pub(crate) bytes: [u8; KEY_SIZE],
}

/// Why keys are not valid. Keys are numbered from 1; messages never contain a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Too many keys.
    #[error(
        "{count} encryption keys: at most {MAX_KEYS} are allowed; remove those that are no \
         longer used for encryption by any member"
    )]
    TooMany {
        /// Keys that were given.
        count: usize,
    },
    /// Neither a key nor an existing file.
    #[error(
        "encryption key {number}{} is neither base64 of {KEY_SIZE} bytes nor the path of a file \
         that exists; {HOW}, or correct the path",
        shown(.path)
    )]
    Unusable {
        /// Which key.
        number: usize,
        /// The given text, if it is certainly a path.
        path: Option<String>,
    },
    /// The file of the key cannot be read.
    #[error(
        "encryption key {number}: cannot read the file {path}: {source}; let this user read it"
    )]
    Unreadable {
        /// Which key.
        number: usize,
        /// The file.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// The file does not contain a key.
    #[error(
        "encryption key {number}: the file {path} contains neither base64 of {KEY_SIZE} bytes \
         nor {KEY_SIZE} bytes; {HOW} and write it to the file"
    )]
    NotAKey {
        /// Which key.
        number: usize,
        /// The file.
        path: String,
    },
    /// The same key twice.
    #[error("encryption key {number} is the same as key {first}; remove one of them")]
    Duplicate {
        /// Which key.
        number: usize,
        /// The key that is the same.
        first: usize,
    },
}

fn shown(path: &Option<String>) -> String {
    path.as_ref()
        .map(|path| format!(" ({path})"))
        .unwrap_or_default()
}

impl Keyring {
    /// Reads keys. Each source is base64 (standard alphabet, padded or not) of exactly 32 bytes, or
    /// the path of a file that contains such base64 or 32 raw bytes. A text that could be both is a
    /// path.
    pub fn parse(sources: &[impl AsRef<str>]) -> Result<Self, KeyError> {
        if sources.len() > MAX_KEYS {
            return Err(KeyError::TooMany {
                count: sources.len(),
            });
        }
        let mut keys: Vec<Key> = Vec::with_capacity(sources.len());
        for (number, source) in (1..).zip(sources) {
            let key = Key::new(read_source(number, source.as_ref().trim())?);
            // Ids are compared: a packet must say with one which key it needs.
            if let Some(first) = keys.iter().position(|other| other.id == key.id) {
                return Err(KeyError::Duplicate {
                    number,
                    first: first + 1,
                });
            }
            keys.push(key);
        }
        Ok(Self { keys })
    }

    /// Whether there is no key: packets are not encrypted.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The key that encrypts.
    pub(crate) fn first(&self) -> Option<&Key> {
        self.keys.first()
    }

    /// The key that has this id.
    pub(crate) fn get(&self, id: &[u8]) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == *id)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Keyring")?;
        let mut list = formatter.debug_list();
        for key in &self.keys {
            list.entry(&format_args!("{:08x}", u32::from_be_bytes(key.id)));
        }
        list.finish()
    }
}

impl Key {
    fn new(bytes: [u8; KEY_SIZE]) -> Self {
        let hash = Sha256::new()
            .chain_update(b"kv-memberlist key id")
            .chain_update(bytes)
            .finalize();
        let mut id = KeyId::default();
        for (to, from) in id.iter_mut().zip(hash) {
            *to = from;
        }
        Self { id, bytes }
    }
}

fn read_source(number: usize, source: &str) -> Result<[u8; KEY_SIZE], KeyError> {
    if Path::new(source).is_file() {
        return read_file(number, source);
    }
    decode(source.as_bytes()).ok_or_else(|| KeyError::Unusable {
        number,
        path: is_surely_a_path(source).then(|| source.to_owned()),
    })
}

/// A truncated or mistyped key must not end up in a log.
fn is_surely_a_path(source: &str) -> bool {
    let folder = Path::new(source).parent();
    source.contains('.')
        || folder.is_some_and(|folder| folder.file_name().is_some() && folder.is_dir())
}

fn read_file(number: usize, path: &str) -> Result<[u8; KEY_SIZE], KeyError> {
    let content = read_start(path).map_err(|source| KeyError::Unreadable {
        number,
        path: path.to_owned(),
        source,
    })?;
    let raw = <[u8; KEY_SIZE]>::try_from(content.as_slice()).ok();
    raw.or_else(|| decode(content.trim_ascii()))
        .ok_or_else(|| KeyError::NotAKey {
            number,
            path: path.to_owned(),
        })
}

fn read_start(path: &str) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut content)?;
    Ok(content)
}

fn decode(text: &[u8]) -> Option<[u8; KEY_SIZE]> {
    let bytes = STANDARD_PAD_INDIFFERENT.decode(text).ok()?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// Base64 of 32 bytes that are all the same.
    fn key(byte: u8) -> String {
        STANDARD_PAD_INDIFFERENT.encode([byte; KEY_SIZE])
    }

    fn parse(sources: &[&str]) -> Result<Keyring, KeyError> {
        let sources: Vec<String> = sources.iter().map(|&source| source.to_owned()).collect();
        Keyring::parse(&sources)
    }

    fn refusal(sources: &[&str]) -> String {
        parse(sources).unwrap_err().to_string()
    }

    fn file(content: &[u8]) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gossip");
        std::fs::write(&path, content).unwrap();
        (folder, path.to_str().unwrap().to_owned())
    }

    #[test]
    fn nothing_is_an_empty_keyring() {
        let keyring = parse(&[]).unwrap();
        assert!(keyring.is_empty());
        assert_eq!(keyring, Keyring::default());
    }

    #[test]
    fn padding_does_not_matter() {
        let padded = key(1);
        assert!(padded.ends_with('='));
        let bare = padded.trim_end_matches('=');
        assert_eq!(parse(&[&padded]).unwrap(), parse(&[bare]).unwrap());
        assert_eq!(parse(&[&padded]).unwrap().len(), 1);
    }

    #[test]
    fn a_file_may_hold_text_or_bytes() {
        let expected = parse(&[&key(7)]).unwrap();
        for content in [
            format!("{}\n", key(7)).into_bytes(),
            format!("  {}", key(7)).into_bytes(),
            vec![7; KEY_SIZE],
        ] {
            let (_folder, path) = file(&content);
            assert_eq!(parse(&[&path]).unwrap(), expected);
        }
    }

    #[test]
    fn debug_shows_ids_and_never_keys() {
        let shown = format!("{:?}", parse(&[&key(1), &key(2)]).unwrap());
        assert_eq!(shown.len(), "Keyring[00000000, 00000000]".len());
        assert!(!shown.contains(&key(1)) && !shown.contains("1, 1"));
    }

    #[test]
    fn the_id_is_that_of_the_documentation() {
        let hash = Sha256::digest([b"kv-memberlist key id".as_slice(), &[1; KEY_SIZE]].concat());
        let keyring = parse(&[&key(1)]).unwrap();
        assert_eq!(keyring.first().unwrap().id, hash[..4]);
        assert!(keyring.get(&hash[..4]).is_some());
        assert!(keyring.get(&hash[..3]).is_none());
    }

    #[test]
    fn a_duplicate_is_refused() {
        let (_folder, path) = file(key(2).as_bytes());
        assert_eq!(
            refusal(&[&key(1), &key(2), &path]),
            "encryption key 3 is the same as key 2; remove one of them"
        );
    }

    #[test]
    fn too_many_are_refused() {
        let keys: Vec<String> = (0..9).map(key).collect();
        assert!(Keyring::parse(&keys[..8]).is_ok());
        let refusal = Keyring::parse(&keys).unwrap_err().to_string();
        assert!(refusal.starts_with("9 encryption keys: at most 8"));
    }

    #[test]
    fn a_spoilt_key_is_not_shown() {
        for spoilt in [
            &key(255)[1..],
            &key(255)[..40],
            "",
            "/w==",
            "/secret/secret",
        ] {
            let refusal = refusal(&[&key(1), spoilt]);
            assert!(refusal.starts_with("encryption key 2 is neither base64 of 32 bytes nor"));
            assert!(refusal.contains("openssl rand -base64 32"));
            assert!(spoilt.is_empty() || !refusal.contains(spoilt));
        }
    }

    #[test]
    fn a_path_is_shown() {
        let (_folder, path) = file(b"hello");
        assert!(refusal(&[&path]).contains(&format!("the file {path} contains neither")));
        let missing = format!("{path}2");
        assert!(refusal(&[&missing]).contains(&format!("key 1 ({missing}) is neither")));
        assert!(refusal(&["gossip.key"]).contains("(gossip.key)"));
    }
}
