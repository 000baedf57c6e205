//! Which protocol a member speaks, and whether the ring's members agree on it.

use std::sync::{Arc, Mutex};

use kv_core::lock;

use crate::config::{MemberlistConfig, Protocol};
use crate::status::{Chosen, ProtocolInUse};

/// The protocol, if it does not depend on the members that answer, and how it was chosen. What
/// protects only one of the two decides for it: gossip never loses its protection because of a member
/// that answers.
pub(crate) fn fixed_protocol(config: &MemberlistConfig) -> Option<(Protocol, Chosen)> {
    match config.protocol {
        Protocol::Auto if config.tls_enabled => {
            Some((Protocol::Memberlist, Chosen::Setting("tls_enabled")))
        }
        Protocol::Auto if !config.encryption_keys.is_empty() => {
            Some((Protocol::Chitchat, Chosen::Setting("encryption_keys")))
        }
        Protocol::Auto if config.join_members.is_empty() => {
            Some((Protocol::Chitchat, Chosen::NoneNamed))
        }
        Protocol::Auto => None,
        fixed => Some((fixed, Chosen::Setting("protocol"))),
    }
}

/// What is known of the ring's protocol. Clones are the same one.
#[derive(Clone)]
pub(super) struct Choice(Arc<Mutex<Known>>);

struct Known {
    in_use: ProtocolInUse,
    disagreement: Option<String>,
}

impl Choice {
    pub(super) fn new(in_use: ProtocolInUse) -> Self {
        Self(Arc::new(Mutex::new(Known {
            in_use,
            disagreement: None,
        })))
    }

    pub(super) fn in_use(&self) -> ProtocolInUse {
        lock(&self.0).in_use
    }

    /// Another protocol is spoken from now on.
    pub(super) fn set(&self, in_use: ProtocolInUse) {
        let disagreement = None;
        *lock(&self.0) = Known {
            in_use,
            disagreement,
        };
    }

    /// Who speaks what, if the members of the ring do not speak the same.
    pub(super) fn disagreement(&self) -> Option<String> {
        lock(&self.0).disagreement.clone()
    }

    /// Notes who speaks what; true if that is news.
    pub(super) fn note_disagreement(&self, disagreement: Option<String>) -> bool {
        let mut known = lock(&self.0);
        let is_news = known.disagreement != disagreement;
        known.disagreement = disagreement;
        is_news
    }
}

#[cfg(test)]
mod tests {
    use settings::Secret;

    use super::*;

    #[test]
    fn what_protects_one_protocol_decides_for_it() {
        let fixed = |change: fn(&mut MemberlistConfig)| {
            let mut config = MemberlistConfig {
                join_members: vec!["other:7946".to_owned()],
                ..MemberlistConfig::default()
            };
            change(&mut config);
            fixed_protocol(&config).map(|(protocol, _)| protocol)
        };
        assert_eq!(fixed(|_| {}), None);
        let chitchat = Some(Protocol::Chitchat);
        assert_eq!(fixed(|it| it.join_members.clear()), chitchat);
        assert_eq!(
            fixed(|it| it.encryption_keys.push(Secret::new("k"))),
            chitchat
        );
        let memberlist = Some(Protocol::Memberlist);
        assert_eq!(fixed(|it| it.tls_enabled = true), memberlist);
        assert_eq!(fixed(|it| it.protocol = Protocol::Memberlist), memberlist);
    }
}
