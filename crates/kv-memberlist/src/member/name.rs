//! The name of a member.

use crate::config::{MAX_NODE_NAME, MemberlistConfig};
use crate::names::showable;

/// The name of a member with these settings; different each time if it is randomized.
pub(super) fn name(config: &MemberlistConfig) -> String {
    let mut name = if config.node_name.is_empty() {
        host_name()
    } else {
        config.node_name.clone()
    };
    while name.len() > MAX_NODE_NAME {
        name.pop();
    }
    if config.randomize_node_name {
        let random: u32 = rand::random();
        name.push_str(&format!("-{random:08x}"));
    }
    name
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map(|name| showable(name.trim()))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "member".to_owned())
}
