//! How messages are written: packets and streams, both ways.
//!
//! What is received is bounded before memory is taken for it, by [`Limits`]; nothing panics. A packet
//! goes through [`read_packet_frame`] and [`read_packet`], a stream through a [`StreamReader`]. To send,
//! [`message`] and [`compounds`] make what [`packet`] and [`packet_frame`] wrap; [`push_pull`] and
//! [`stream_message`] make what [`stream`] wraps.

mod body;
mod compression;
mod error;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod limits;
mod msgpack;
mod packet;
mod seal;
mod stream;
mod wire;

pub use compression::Compression;
pub(crate) use compression::inflate_snappy;
pub use error::{Error, Rejected};
pub use frame::{
    DIGEST, Kind, MAX_FRAME, PACKET, PacketFrame, STREAM, kind, packet_frame, read_packet_frame,
};
pub use limits::{Limits, MAX_DEPTH, MAX_NAME};
pub use packet::{
    MAX_PART, MAX_PARTS, PART_OVERHEAD, Packet, PacketOptions, compounds, message, packet,
    read_packet,
};
pub use seal::SecretKey;
pub use stream::{
    Side, StreamMessage, StreamOptions, StreamReader, push_pull, stream, stream_message,
};
pub use wire::{Label, Wire};

#[cfg(test)]
mod tests;
