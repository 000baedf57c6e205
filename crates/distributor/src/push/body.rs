//! From the body of a request to its message, and to the block that goes on.

use bytes::Bytes;
use remote_write::Scan;
use tokio::time::Instant;

use super::answer::PushAnswer;
use super::budget::Held;
use super::buffers::Message;
use super::{PushBody, PushRequest, Pusher, judge};

impl Pusher {
    /// The message of a request, and the block that it was.
    pub(super) fn decode(
        &self,
        request: &mut PushRequest<'_>,
    ) -> Result<(Message, Option<Bytes>), PushAnswer> {
        let uncounted = request.body.len().saturating_sub(request.held.bytes());
        request.held.grow(uncounted)?;
        let body = std::mem::replace(&mut request.body, PushBody::Snappy(Bytes::new()));
        match body {
            PushBody::Snappy(block) => {
                let mut message = self.buffers.message();
                message.decompress(&block, self.max_recv_msg_size, &mut request.held)?;
                Ok((message, Some(block)))
            }
            PushBody::Plain(message) => Ok((message, None)),
        }
    }

    /// What is left of a message as a snappy block, which is then all that is held of it.
    pub(super) async fn compress(
        &self,
        message: Message,
        scan: &Scan,
        held: &mut Held<'_>,
        deadline: Instant,
    ) -> Result<Bytes, PushAnswer> {
        let turn = self.long_work.turn(scan.length, deadline).await?;
        let mut block = self.buffers.message();
        let edited = message.bytes().get(..scan.length).unwrap_or_default();
        turn.run(|| block.compress(edited, held))?;
        drop(message);
        held.shrink_to(block.counted() + noted_bytes(scan));
        Ok(block.freeze())
    }
}

/// What is noted of a request until it is answered, bytes.
pub(super) fn noted_bytes(scan: &Scan) -> u64 {
    (scan.allocated_bytes() + scan.groups.len() * judge::BYTES_PER_GROUP) as u64
}
