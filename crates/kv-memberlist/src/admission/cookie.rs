//! Cookies: only a host that receives packets at an address can return its cookie from there.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand::Rng;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::seal::packet::{COOKIE_SIZE, Cookie};

/// How long one secret is used for new cookies; they are accepted for as long again.
const ROTATE: Duration = Duration::from_secs(600);

/// Bytes of a packet that a quote covers at most.
const QUOTED: usize = 512;

type Secret = [u8; 32];

/// Makes cookies, and recognizes its own without storing them.
pub(super) struct Issuer {
    secret: Secret,
    previous: Secret,
    since: Instant,
}

impl Issuer {
    pub(super) fn new() -> Self {
        Self {
            secret: secret(),
            previous: secret(),
            since: Instant::now(),
        }
    }

    /// The cookie of an address.
    pub(super) fn issue(&mut self, address: SocketAddr) -> Cookie {
        self.rotate();
        make(&self.secret, address)
    }

    /// Whether this is the cookie of that address, issued at most ten to twenty minutes ago.
    pub(super) fn has_issued(&mut self, address: SocketAddr, cookie: &Cookie) -> bool {
        self.rotate();
        [&self.secret, &self.previous]
            .into_iter()
            .any(|secret| is_same(&make(secret, address), cookie))
    }

    fn rotate(&mut self) {
        let age = self.since.elapsed();
        if age < ROTATE {
            return;
        }
        let next = secret();
        self.previous = if age < ROTATE * 2 {
            std::mem::replace(&mut self.secret, next)
        } else {
            self.secret = next;
            secret()
        };
        self.since = Instant::now();
    }
}

/// Identifies a packet to its sender, the only host that knows its content beforehand.
pub(super) fn quote(packet: &[u8]) -> Cookie {
    let start = packet.get(..QUOTED).unwrap_or(packet);
    shorten(Sha256::new().chain_update(start).finalize().as_slice())
}

fn secret() -> Secret {
    let mut secret = Secret::default();
    rand::rng().fill_bytes(&mut secret);
    secret
}

/// A keyed hash: of a secret and data of fixed length. Only part of it is sent.
fn make(secret: &Secret, address: SocketAddr) -> Cookie {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let hash = Sha256::new()
        .chain_update(secret)
        .chain_update(ip.octets())
        .chain_update(address.port().to_le_bytes())
        .finalize();
    shorten(hash.as_slice())
}

fn shorten(hash: &[u8]) -> Cookie {
    hash.first_chunk().copied().unwrap_or([0; COOKIE_SIZE])
}

/// Compares in constant time.
fn is_same(one: &Cookie, other: &Cookie) -> bool {
    let differences = one.iter().zip(other).map(|(one, other)| one ^ other);
    differences.fold(0, |all, some| all | some) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_cookie_is_of_one_address_for_a_while() {
        let mut issuer = Issuer::new();
        let address: SocketAddr = ([10, 0, 0, 1], 7946).into();
        let cookie = issuer.issue(address);
        assert!(issuer.has_issued(address, &cookie));
        assert!(!issuer.has_issued(([10, 0, 0, 1], 7947).into(), &cookie));
        assert!(!issuer.has_issued(([10, 0, 0, 2], 7946).into(), &cookie));
        assert!(!Issuer::new().has_issued(address, &cookie));
        tokio::time::advance(ROTATE).await;
        assert_ne!(issuer.issue(address), cookie);
        assert!(issuer.has_issued(address, &cookie));
        tokio::time::advance(ROTATE).await;
        assert!(!issuer.has_issued(address, &cookie));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_of_long_ago_is_taken_after_a_pause() {
        let mut issuer = Issuer::new();
        let address: SocketAddr = ([10, 0, 0, 1], 7946).into();
        let cookie = issuer.issue(address);
        tokio::time::advance(ROTATE * 2).await;
        assert!(!issuer.has_issued(address, &cookie));
    }
}
