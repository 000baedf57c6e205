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
    /// chitchat, which other distributors speak to one of memberlist's ring.
    Chitchat,
    /// None of these.
    Unknown,
}

impl ForeignProtocol {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::HashiCorp,
        Self::Dskit,
        Self::Tls,
        Self::Http,
        Self::Chitchat,
        Self::Unknown,
    ];

    /// In one word, for a metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HashiCorp => "hashicorp",
            Self::Dskit => "dskit",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Chitchat => "chitchat",
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

    /// As [`ForeignProtocol::of_stream`], for a member of dskit's memberlist: what begins neither as a
    /// packet of that nor as a stream. chitchat's connections begin with a length below 2^24.
    pub(crate) fn of_stream_to_dskit(beginning: &[u8]) -> Self {
        match beginning {
            [0, 0x80..=0x8f, ..] => Self::HashiCorp,
            [0, ..] => Self::Chitchat,
            [1 | 2, ..] => Self::HashiCorp,
            other => Self::of_stream(other),
        }
    }

    /// What a datagram is that is not ours: dskit sends none.
    pub(crate) fn of_datagram(packet: &[u8]) -> Self {
        match packet {
            [0..=13 | 244, ..] => Self::HashiCorp,
            _ => Self::Unknown,
        }
    }

    /// What the other end speaks that answered a [`Probe`] so; `None` if that tells nothing, or
    /// nothing yet.
    pub(crate) fn of_answer(probe: &Probe, answer: &[u8], is_complete: bool) -> Option<Self> {
        match answer {
            // An acknowledgement, or an error: both are answers of the protocol that was spoken.
            [2, ..] => Some(probe.speaks),
            [13, ..] if is_complete && Answered::of_error(answer).is_none() => Some(probe.speaks),
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
            Self::Chitchat => "chitchat, as distributors speak it among themselves",
            Self::Unknown => "an unknown protocol",
        })
    }
}

/// Which kind of gossip a member speaks that was asked with a [`Probe`] of dskit's memberlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answered {
    /// dskit's memberlist.
    Memberlist,
    /// chitchat.
    Chitchat {
        /// Whether it would change to memberlist.
        may_change: bool,
    },
}

/// By this, one distributor recognises another's answer.
const SPEAKS_CHITCHAT: &str = "this distributor speaks chitchat, not memberlist";

impl Answered {
    /// What a member that speaks chitchat answers to a stream of dskit's memberlist: the protocol's
    /// own message of an error (13), which members in Go log.
    pub(crate) fn chitchat_error(may_change: bool) -> Vec<u8> {
        let protocol = if may_change { "auto" } else { "chitchat" };
        let text = format!(
            "{SPEAKS_CHITCHAT} (memberlist.protocol: {protocol}); all members of a ring must speak \
             the same"
        );
        let size = u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes();
        [b"\x0d\x81\xa5Error\xda", &size[..], text.as_bytes()].concat()
    }

    /// What such an error says; `None` for any other.
    fn of_error(answer: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(answer);
        let (_, rest) = text.split_once(SPEAKS_CHITCHAT)?;
        let may_change = rest.starts_with(" (memberlist.protocol: auto)");
        Some(Self::Chitchat { may_change })
    }

    /// What the other end speaks that answered a [`Probe`] of dskit's memberlist so; `None` if that
    /// tells nothing, or nothing yet.
    pub(crate) fn of_answer(answer: &[u8], is_complete: bool) -> Option<Self> {
        match answer {
            [2, ..] => Some(Self::Memberlist),
            [13, ..] if is_complete => Some(Self::of_error(answer).unwrap_or(Self::Memberlist)),
            _ => None,
        }
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
    /// Those of dskit's memberlist.
    pub(crate) fn of_dskit(label: &str) -> impl Iterator<Item = Self> {
        let all = Self::all(label).into_iter();
        all.filter(|probe| probe.speaks == ForeignProtocol::Dskit)
    }

    /// Most bytes of a probe.
    pub(crate) const MAX: usize = 1 + 2 + 255 + PING.len();

    /// Whether a connection that begins so is a probe of dskit's memberlist; `None` if that cannot be
    /// said yet.
    pub(crate) fn is_of_dskit(beginning: &[u8]) -> Option<bool> {
        let rest = match beginning {
            [] | [2] => return None,
            [2, 244] => return None,
            [2, 244, length, rest @ ..] => rest.get(usize::from(*length)..)?,
            [2, rest @ ..] => rest,
            _ => return Some(false),
        };
        if rest.len() < PING.len() && PING.starts_with(rest) {
            return None;
        }
        Some(rest == PING)
    }

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
        let of = |answer: &[u8]| ForeignProtocol::of_answer(&probes[0], answer, true);
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
            ForeignProtocol::of_answer(&probes[1], &[2], false),
            Some(ForeignProtocol::HashiCorp)
        );
        // An error is read to its end: it may be another distributor's.
        let error = Answered::chitchat_error(false);
        let of = |is_complete| ForeignProtocol::of_answer(&probes[0], &error, is_complete);
        assert_eq!((of(false), of(true)), (None, None));
    }

    #[test]
    fn a_distributor_says_which_gossip_it_speaks() {
        for may_change in [true, false] {
            let error = Answered::chitchat_error(may_change);
            assert_eq!(Answered::of_answer(&error, false), None);
            assert_eq!(
                Answered::of_answer(&error, true),
                Some(Answered::Chitchat { may_change })
            );
        }
        for (answer, is_complete) in [(&b"\x02\x82"[..], false), (b"\x0d\x81\xa5Error\xa0", true)] {
            let read = Answered::of_answer(answer, is_complete);
            assert_eq!(read, Some(Answered::Memberlist));
        }
        assert_eq!(Answered::of_answer(b"HTTP/1.1", true), None);
    }

    #[test]
    fn a_probe_is_known_for_one_when_it_is_complete() {
        for label in ["", "ab"] {
            for probe in Probe::of_dskit(label) {
                for length in 0..probe.bytes.len() {
                    assert_eq!(Probe::is_of_dskit(&probe.bytes[..length]), None, "{length}");
                }
                assert_eq!(Probe::is_of_dskit(&probe.bytes), Some(true));
            }
        }
        for other in [
            &b"\x02\x06\x83"[..],
            b"\x01\x0e",
            b"\x02\x00\x82\xa4Node\xa1a",
        ] {
            assert_eq!(Probe::is_of_dskit(other), Some(false), "{other:?}");
        }
    }

    #[test]
    fn what_is_said_to_a_member_of_dskits_ring_tells_who_speaks() {
        let of = |bytes: &[u8]| ForeignProtocol::of_stream_to_dskit(bytes).as_str();
        assert_eq!(of(&[0, 0]), "chitchat");
        assert_eq!(of(PING), "hashicorp");
        assert_eq!(of(&[22, 3]), "tls");
        assert_eq!(of(b"GET /"), "http");
    }
}
