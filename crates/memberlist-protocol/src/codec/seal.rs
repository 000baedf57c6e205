//! Encryption, of which memberlist is capable. dskit's rings never use it.

use std::fmt;
use std::sync::Arc;

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::error::Error;

const TAG: usize = 16;
const BLOCK: usize = 16;
/// Version byte, nonce, tag.
const OVERHEAD: usize = 1 + NONCE_LEN + TAG;

/// A key of AES-GCM that all members of a ring share.
#[derive(Clone)]
pub struct SecretKey {
    cipher: Arc<LessSafeKey>,
}

impl SecretKey {
    /// A key of 16 or 32 bytes.
    ///
    /// # Errors
    /// With any other length; memberlist itself also takes 24.
    pub fn new(bytes: &[u8]) -> Result<Self, Error> {
        let algorithm = match bytes.len() {
            16 => &AES_128_GCM,
            _ => &AES_256_GCM,
        };
        let key = UnboundKey::new(algorithm, bytes).map_err(|_| Error::Unsendable {
            what: "a key",
            size: bytes.len(),
            rule: "it must have 16 or 32 bytes",
        })?;
        Ok(Self {
            cipher: Arc::new(LessSafeKey::new(key)),
        })
    }

    /// Seals a message in encryption version 1, the one without padding.
    ///
    /// # Errors
    /// When the message is too long for the cipher.
    pub(super) fn seal(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        message: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let mut sealed = message.to_vec();
        self.cipher
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(aad),
                &mut sealed,
            )
            .map_err(|_| Error::Unsendable {
                what: "a message",
                size: message.len(),
                rule: "it is too long to be encrypted",
            })?;
        let mut out = Vec::with_capacity(sealed.len() + 1 + NONCE_LEN);
        out.push(1);
        out.extend_from_slice(&nonce);
        out.append(&mut sealed);
        Ok(out)
    }

    fn open(&self, nonce: [u8; NONCE_LEN], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let mut buffer = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let length = self
            .cipher
            .open_in_place(nonce, Aad::from(aad), &mut buffer)
            .ok()?
            .len();
        buffer.truncate(length);
        Some(buffer)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey")
    }
}

/// How long a sealed message is, of which `length` bytes are the message.
pub(super) fn sealed_length(length: usize) -> usize {
    length + OVERHEAD
}

/// Opens what any of the keys has sealed, in either version.
pub(super) fn open(keys: &[SecretKey], aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Error> {
    let parts = sealed.split_first().and_then(|(version, rest)| {
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
        (rest.len() >= TAG).then_some((*version, *nonce, rest))
    });
    let Some((version, nonce, rest)) = parts else {
        return Err(Error::Truncated {
            what: "an encrypted message",
        });
    };
    if version > 1 {
        return Err(Error::Malformed {
            what: "an encrypted message",
            why: "its version is unknown",
        });
    }
    let mut message = keys
        .iter()
        .find_map(|key| key.open(nonce, aad, rest))
        .ok_or(Error::Sealed)?;
    if version == 0 {
        let padding = usize::from(message.last().copied().unwrap_or_default());
        if !(1..=BLOCK).contains(&padding) || padding > message.len() {
            return Err(Error::Sealed);
        }
        message.truncate(message.len() - padding);
    }
    Ok(message)
}
