//! What is kept of a request that is held.

use bytes::Bytes;
use remote_write::{Scan, Version, compress_into};

use crate::codec::Content;
use crate::request::PushBody;

/// The clusters of tenants whose `limits.ha_failover_mode` is lossless, at this distributor.
pub type Failovers = ha_failover::Failovers<HeldBody>;

/// The body of a request of a standby, for a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBody {
    version: Version,
    /// A snappy block in memory of its own: the buffers of a connection are larger than what they
    /// hold.
    block: Bytes,
}

impl HeldBody {
    /// The body of a request of which nothing is kept; `None` if it is not there any more.
    pub(super) fn of<'a>(
        version: Version,
        content: &'a Content,
        scan: &Scan,
    ) -> Option<impl Fn() -> Self + 'a> {
        let is_there = content.block().is_some() || scan.left_intact();
        is_there.then_some(move || Self {
            version,
            block: match content.block() {
                Some(block) => Bytes::copy_from_slice(block),
                None => {
                    let mut block = Vec::new();
                    compress_into(content.message.bytes(), &mut block);
                    block.shrink_to_fit();
                    block.into()
                }
            },
        })
    }

    /// Of nothing, where what came is not to be held.
    pub(super) fn empty(version: Version) -> Self {
        Self {
            version,
            block: Bytes::new(),
        }
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// As a request has it.
    pub(super) fn body(&self) -> PushBody {
        PushBody::Snappy(self.block.clone().into())
    }
}

/// What holding a request costs at most, bytes.
pub(super) fn bytes_of(content: &Content) -> u64 {
    let bytes = content
        .block()
        .map_or(content.message.bytes().len(), <[u8]>::len);
    bytes as u64
}
