//! The bytes of real members that tests read.

use serde::Deserialize;

/// Bytes that Go's members wrote, and what they are.
#[derive(Deserialize)]
pub(crate) struct Vector {
    pub(crate) name: String,
    hex: String,
    pub(crate) group: String,
}

impl Vector {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let digits = self.hex.as_bytes().chunks(2);
        digits
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }
}

pub(crate) fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("../tests/data/vectors.json")).unwrap()
}

pub(crate) fn vector(name: &str) -> Vec<u8> {
    let all = vectors();
    let found = all.iter().find(|vector| vector.name == name);
    found.unwrap_or_else(|| panic!("no vector {name}")).bytes()
}
