//! HA pairs that tell by the value of a sample who sent it, and what stores keep of them.

use std::borrow::Borrow;

use e2e::{Answer, Sender, Series, Version};
pub use e2e::{REPLICAS, pair_series};

/// A stored election, as far as tests check it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Desc {
    #[prost(string, tag = "1")]
    pub replica: String,
    #[prost(int64, tag = "2")]
    pub received_at: i64,
}

impl Desc {
    /// From the bytes that every store keeps: a snappy block of protobuf.
    pub fn read(raw: &[u8]) -> Self {
        let decoded = snap::raw::Decoder::new().decompress_vec(raw).unwrap();
        prost::Message::decode(decoded.as_slice()).unwrap()
    }
}

/// Sends as a load balancer would: to the first that answers.
pub async fn send_to_any(
    senders: impl IntoIterator<Item = impl Borrow<Sender>>,
    series: &Series,
) -> Result<Answer, String> {
    let mut last = "no receiver".to_owned();
    for sender in senders {
        match sender
            .borrow()
            .try_send(Version::V1, std::slice::from_ref(series))
            .await
        {
            Ok(answer) => return Ok(answer),
            Err(error) => last = error,
        }
    }
    Err(last)
}
