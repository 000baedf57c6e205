//! The downstream of all servers: takes everything, and costs next to nothing.

use std::io::{Result as IoResult, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use crate::message::Messages;

const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// A downstream in threads of this process.
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    bytes: Arc<AtomicU64>,
}

impl Sink {
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let sink = Self {
            address: listener.local_addr()?,
            bytes: Arc::default(),
        };
        let bytes = Arc::clone(&sink.bytes);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let bytes = Arc::clone(&bytes);
                std::thread::spawn(move || take(stream, &bytes));
            }
        });
        Ok(sink)
    }

    /// Bytes of all bodies, decompressed, as far as they are snappy blocks.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

fn take(stream: TcpStream, bytes: &AtomicU64) -> IoResult<()> {
    stream.set_nodelay(true)?;
    let mut answers = stream.try_clone()?;
    let mut requests = Messages::new(stream);
    while let Some(request) = requests.next()? {
        bytes.fetch_add(
            remote_write::plausible_size(request.body),
            Ordering::Relaxed,
        );
        answers.write_all(ANSWER)?;
    }
    Ok(())
}
