//! Why packets, and the messages in them, are refused.

use crate::link::foreign::ForeignProtocol;

/// Why a packet was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the packet ends too early")]
    Truncated,
    #[error(
        "not a packet of this kind of gossip, but {0}; give each its own port, and name no address \
         of one in the other's join_members"
    )]
    NotOurs(ForeignProtocol),
    #[error("a packet format that this version does not know; run one version on all members")]
    Version,
    #[error("not encrypted, but this member has encryption keys; give the sender the same keys")]
    Unencrypted,
    #[error("encrypted, but this member has no encryption keys; give it those of the sender")]
    Encrypted,
    #[error("encrypted with a key that this member does not have; add it to this member's keys")]
    UnknownKey,
    #[error("not encrypted with the key that it names, or modified in transit")]
    Authentication,
    #[error(
        "encrypted more than ten minutes ago, or in the future: a recording, or the clocks of the \
         members differ"
    )]
    Age,
    #[error("from another cluster: its label is not the cluster label of this member")]
    Label,
    #[error("its sender address cannot be replied to")]
    Address,
    #[error("its compressed part cannot be decompressed")]
    Compression,
    #[error("larger than any packet of gossip")]
    TooLarge,
    #[error("not a message of gossip")]
    Malformed,
    #[error("names more members than a gossip cluster can have")]
    TooManyMembers,
    #[error("names a member with control characters, or with invisible or misleading ones")]
    MemberName,
    #[error(
        "names more members that have not answered than are remembered; they are asked, and \
         remembered when they answer"
    )]
    UnprovenMembers,
    #[error(
        "changes entries that only this member may publish; do two members have the same name?"
    )]
    OwnMap,
}

impl Refusal {
    /// One of each reason.
    pub(crate) const ALL: [Self; 17] = [
        Self::Truncated,
        Self::NotOurs(ForeignProtocol::Unknown),
        Self::Version,
        Self::Unencrypted,
        Self::Encrypted,
        Self::UnknownKey,
        Self::Authentication,
        Self::Age,
        Self::Label,
        Self::Address,
        Self::Compression,
        Self::TooLarge,
        Self::Malformed,
        Self::TooManyMembers,
        Self::MemberName,
        Self::UnprovenMembers,
        Self::OwnMap,
    ];

    /// The reason in one word, for a metric.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Refusal::Truncated => "truncated",
            Refusal::NotOurs(_) => "not_ours",
            Refusal::Version => "version",
            Refusal::Unencrypted => "unencrypted",
            Refusal::Encrypted => "encrypted",
            Refusal::UnknownKey => "unknown_key",
            Refusal::Authentication => "authentication",
            Refusal::Age => "age",
            Refusal::Label => "label",
            Refusal::Address => "address",
            Refusal::Compression => "compression",
            Refusal::TooLarge => "too_large",
            Refusal::Malformed => "malformed",
            Refusal::TooManyMembers => "too_many_members",
            Refusal::MemberName => "member_name",
            Refusal::UnprovenMembers => "unproven_members",
            Refusal::OwnMap => "own_map",
        }
    }
}
