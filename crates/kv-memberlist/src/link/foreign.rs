//! Other protocols on the gossip port, recognised by the first bytes that they send, so that the log,
//! the pages and `/ready` can name the mistake: nearly always a port or an address of another ring.

use std::fmt;
use std::net::SocketAddr;

use tokio::time::Instant;

/// A protocol that this member does not speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ForeignProtocol {
    /// HashiCorp's memberlist: Consul, Serf, Alertmanager.
    HashiCorp,
    /// memberlist as Grafana's dskit frames it, over TCP alone: Mimir, Loki, Tempo, Cortex.
    Dskit,
    /// TLS, whatever is inside.
    Tls,
    /// HTTP.
    Http,
    /// None of these.
    Unknown,
}

impl ForeignProtocol {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::HashiCorp,
        Self::Dskit,
        Self::Tls,
        Self::Http,
        Self::Unknown,
    ];

    /// In one word, for a metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HashiCorp => "hashicorp",
            Self::Dskit => "dskit",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Unknown => "unknown",
        }
    }

    /// What a connection speaks that begins with these bytes and is not ours. dskit begins with 1
    /// (a packet) or 2 (a stream); HashiCorp's with the type of its first message, of which those
    /// two are never the first on a stream.
    pub(crate) fn of_stream(beginning: &[u8]) -> Self {
        match beginning {
            [1 | 2, ..] => Self::Dskit,
            // A ping whose body is a map, as MessagePack writes it.
            [0, 0x80..=0x8f, ..] | [3..=13 | 244, ..] => Self::HashiCorp,
            [22, ..] => Self::Tls,
            // A method, or the preface of HTTP/2.
            [b'A'..=b'Z', ..] => Self::Http,
            _ => Self::Unknown,
        }
    }

    /// What a datagram is that is not ours: dskit sends none.
    pub(crate) fn of_datagram(packet: &[u8]) -> Self {
        match packet {
            [0..=13 | 244, ..] => Self::HashiCorp,
            _ => Self::Unknown,
        }
    }

    /// What the other end speaks that answered a [`Probe`] so; `None` if that tells nothing.
    pub(crate) fn of_answer(probe: &Probe, answer: &[u8]) -> Option<Self> {
        match answer {
            // An acknowledgement, or an error: both are answers of the protocol that was spoken.
            [2 | 13, ..] => Some(probe.speaks),
            [21 | 22, 3, ..] => Some(Self::Tls),
            [b'H', b'T', b'T', b'P', ..] => Some(Self::Http),
            _ => None,
        }
    }
}

impl fmt::Display for ForeignProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HashiCorp => "HashiCorp's memberlist, as Consul and Alertmanager speak it",
            Self::Dskit => "dskit's memberlist, as Mimir, Loki and Tempo speak it",
            Self::Tls => "TLS",
            Self::Http => "HTTP",
            Self::Unknown => "an unknown protocol",
        })
    }
}

/// The last packet or connection of another protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreigner {
    /// What it speaks.
    pub protocol: ForeignProtocol,
    /// Where it came from, as the network says it.
    pub from: SocketAddr,
    /// When it came.
    pub at: Instant,
}

/// What makes the other end of a connection show what it speaks: a ping that names no node, which
/// every node answers, and which changes nothing there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probe {
    /// What an answer in kind shows.
    pub(crate) speaks: ForeignProtocol,
    /// What to write first on a connection.
    pub(crate) bytes: Vec<u8>,
}

/// A ping (0) that names no node, with a sequence number: `{"Node": "", "SeqNo": 1}`.
const PING: &[u8] = b"\x00\x82\xa4Node\xa0\xa5SeqNo\x01";

impl Probe {
    /// To be tried one after the other, each on a connection of its own. A ring with a label
    /// answers only to that label.
    pub(crate) fn all(label: &str) -> Vec<Self> {
        let labels = match label {
            "" => vec![""],
            label => vec![label, ""],
        };
        let ways = [
            (ForeignProtocol::Dskit, &[2][..]),
            (ForeignProtocol::HashiCorp, &[]),
        ];
        let probe = |(speaks, before): (ForeignProtocol, &[u8]), label: &str| Self {
            speaks,
            bytes: [before, &label_header(label), PING].concat(),
        };
        ways.into_iter()
            .flat_map(|way| labels.iter().map(move |label| probe(way, label)))
            .collect()
    }
}

fn label_header(label: &str) -> Vec<u8> {
    match u8::try_from(label.len()) {
        Ok(length) if length > 0 => [&[244, length], label.as_bytes()].concat(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_of_a_stream_tells_who_speaks() {
        let of = |bytes: &[u8]| ForeignProtocol::of_stream(bytes).as_str();
        assert_eq!(of(&[1, 14]), "dskit");
        assert_eq!(of(&[2, 6]), "dskit");
        for first in [6, 8, 9, 10, 244] {
            assert_eq!(of(&[first]), "hashicorp", "{first}");
        }
        assert_eq!(of(PING), "hashicorp");
        assert_eq!(of(&[22, 3, 1]), "tls");
        assert_eq!(of(b"GET /"), "http");
        assert_eq!(of(b"PRI *"), "http");
        assert_eq!(of(&[200]), "unknown");
        assert_eq!(of(&[]), "unknown");
    }

    #[test]
    fn a_probe_is_a_ping_in_each_framing_with_and_without_the_label() {
        let bytes: Vec<_> = Probe::all("ab").into_iter().map(|it| it.bytes).collect();
        assert_eq!(
            bytes,
            [
                [b"\x02\xf4\x02ab", PING].concat(),
                [b"\x02", PING].concat(),
                [b"\xf4\x02ab", PING].concat(),
                PING.to_vec(),
            ]
        );
        assert_eq!(Probe::all("").len(), 2);
    }

    #[test]
    fn an_answer_in_kind_tells_who_speaks() {
        let probes = Probe::all("");
        let of = |answer: &[u8]| ForeignProtocol::of_answer(&probes[0], answer);
        // As a node of dskit acknowledges the ping.
        assert_eq!(
            of(b"\x02\x82\xa7Payload\xc0\xa5SeqNo\x01"),
            Some(ForeignProtocol::Dskit)
        );
        assert_eq!(of(b"\x0d\x81\xa5Error\xa0"), Some(ForeignProtocol::Dskit));
        assert_eq!(of(b"HTTP/1.1 400"), Some(ForeignProtocol::Http));
        assert_eq!(of(&[21, 3, 1]), Some(ForeignProtocol::Tls));
        assert_eq!((of(&[]), of(&[9])), (None, None));
        assert_eq!(
            ForeignProtocol::of_answer(&probes[1], &[2]),
            Some(ForeignProtocol::HashiCorp)
        );
    }
}
