//! Needs no server: the scan of remote write, and a member of a gossip ring without sockets.

use std::time::Duration;

use memberlist_protocol::membership::{Config, Node};
use memberlist_protocol::message::Addr;
use rand::rngs::StdRng;
use rand::SeedableRng;
use remote_write::{Decides, HaLabelNames, Scratch, Verdict, Version};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut request =
        b"\x0a\x21\x0a\x10\x0a\x0b__replica__\x12\x01a\x0a\x0d\x0a\x07cluster\x12\x02c1".to_vec();
    let names = HaLabelNames {
        cluster: "cluster",
        replica: "__replica__",
    };
    let rule = Some(names.rule(Decides::EachSeries));
    let mut keep = |_: &str, _: &str| Verdict::Keep;
    let mut scratch = Scratch::default();
    let scan = remote_write::scan(Version::V1, &mut request, rule, &mut scratch, &mut keep)?;

    let config = Config::new("member-1", Addr::V4([127, 0, 0, 1]), 7946);
    let node = Node::new(config, StdRng::seed_from_u64(1), Duration::ZERO);
    println!("{} cluster, {} member", scan.groups.len(), node.present());
    Ok(())
}
