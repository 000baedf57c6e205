//! Messages that stay bytes.

use bytes::{Buf, Bytes};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Requests as bytes, which the push path scans; answers without content.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RawCodec;

#[derive(Debug)]
pub(super) struct Raw;

#[derive(Debug)]
pub(super) struct Empty;

impl Codec for RawCodec {
    type Encode = ();
    type Decode = Bytes;
    type Encoder = Empty;
    type Decoder = Raw;

    fn encoder(&mut self) -> Empty {
        Empty
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}

impl Encoder for Empty {
    type Item = ();
    type Error = Status;

    fn encode(&mut self, (): (), _message: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}
