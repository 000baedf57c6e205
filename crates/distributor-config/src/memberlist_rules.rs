//! The rules about the settings of gossip, for when it is used.

use std::time::Duration;

use super::errors::Findings;
use super::memberlist_model::MemberlistSettings;
use super::memberlist_table::{SECTION, path_in_kvstore};
use super::units::format_duration;
use super::validate::{OriginOf, set_one};

const GOSSIP_INTERVAL: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(10));
/// The label's length is one byte in a packet.
const MAX_CLUSTER_LABEL: usize = 255;
const MAX_NODE_NAME: usize = 100;
const MAX_KEYS: usize = 8;
const MAX_KEY_TEXT: usize = 4096;
const MAX_MESSAGE_HISTORY: u64 = 64 << 20;

/// Checks settings that are in use.
pub(super) fn check(
    settings: &MemberlistSettings,
    origin_of: OriginOf<'_>,
    findings: &mut Findings,
) {
    let mut rules = Rules {
        origin_of,
        findings,
    };
    for (index, member) in settings.join_members.iter().enumerate() {
        if let Err(error) = kv_memberlist::check_join_member(member) {
            let problem = format!("got {:?}; {}", error.entry, error.problem);
            rules.error_at("join_members", Some(index), problem);
        }
    }
    rules.at_most_bytes("node_name", &settings.node_name, MAX_NODE_NAME);
    rules.at_most_bytes("cluster_label", &settings.cluster_label, MAX_CLUSTER_LABEL);
    let (least, most) = GOSSIP_INTERVAL;
    if !(least..=most).contains(&settings.gossip_interval) {
        let problem = format!(
            "got {}; must be from {} to {}",
            format_duration(settings.gossip_interval),
            format_duration(least),
            format_duration(most)
        );
        rules.error("gossip_interval", problem);
    }
    for (name, duration) in [
        ("min_join_backoff", settings.min_join_backoff),
        ("left_ingesters_timeout", settings.left_ingesters_timeout),
        (
            "obsolete_entries_timeout",
            settings.obsolete_entries_timeout,
        ),
    ] {
        if duration.is_zero() {
            rules.error(name, "got 0s; must be more than 0");
        }
    }
    rules.backoff(settings);
    if settings.message_history_buffer_bytes > MAX_MESSAGE_HISTORY {
        let problem = format!(
            "got {} bytes; must be at most 64MiB",
            settings.message_history_buffer_bytes
        );
        rules.error("message_history_buffer_bytes", problem);
    }
    if settings.encryption_keys.len() > MAX_KEYS {
        let problem = format!(
            "got {} keys; must be at most {MAX_KEYS}",
            settings.encryption_keys.len()
        );
        rules.error("encryption_keys", problem);
    }
    for (index, key) in settings.encryption_keys.iter().enumerate() {
        if key.expose().trim().is_empty() {
            rules.error_at(
                "encryption_keys",
                Some(index),
                "got nothing; must be a key in base64, or the path of a file that holds one",
            );
        } else if key.expose().len() > MAX_KEY_TEXT {
            let problem = format!(
                "got {} bytes, which are not shown; must be at most {MAX_KEY_TEXT}",
                key.expose().len()
            );
            rules.error_at("encryption_keys", Some(index), problem);
        }
    }
    if settings.tls_enabled {
        rules.error(
            "tls_enabled",
            "got true; gossip is encrypted with memberlist.encryption_keys here, not TLS: set \
             these on all members, and remove this",
        );
    }
}

struct Rules<'a> {
    origin_of: OriginOf<'a>,
    findings: &'a mut Findings,
}

impl Rules<'_> {
    fn error(&mut self, name: &str, problem: impl Into<String>) {
        self.error_at(name, None, problem);
    }

    fn error_at(&mut self, name: &str, index: Option<usize>, problem: impl Into<String>) {
        let path = path_of(name);
        let origin = (self.origin_of)(&path);
        let path = match index {
            Some(index) => format!("{path}[{index}]"),
            None => path,
        };
        self.findings.error(&origin, &path, problem);
    }

    fn at_most_bytes(&mut self, name: &str, text: &str, most: usize) {
        if text.len() > most {
            let problem = format!("got {} bytes; must be at most {most}", text.len());
            self.error(name, problem);
        }
    }

    fn backoff(&mut self, settings: &MemberlistSettings) {
        let (min, max) = (path_of("min_join_backoff"), path_of("max_join_backoff"));
        if settings.max_join_backoff >= settings.min_join_backoff
            || self.refused(&min)
            || self.refused(&max)
        {
            return;
        }
        let problem = format!(
            "got {}; must be at least min_join_backoff {} ({})",
            format_duration(settings.max_join_backoff),
            format_duration(settings.min_join_backoff),
            (self.origin_of)(&min)
        );
        let origin = set_one(&[&max, &min], self.origin_of);
        self.findings.error(&origin, &max, problem);
    }

    /// Whether a value of `path` was refused at either place.
    fn refused(&self, path: &str) -> bool {
        self.findings.concerns(path)
            || path_in_kvstore(path).is_some_and(|path| self.findings.concerns(&path))
    }
}

fn path_of(name: &str) -> String {
    format!("{SECTION}.{name}")
}
