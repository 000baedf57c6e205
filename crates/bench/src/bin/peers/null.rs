//! The null receiver: reads bodies and answers, and forwards them before if it is told to. It checks
//! nothing, limits nothing and counts nothing; each connection has a thread that waits for it. So it is
//! the least that a receiver can cost.

use std::io::{Result as IoResult, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::Result;

use crate::message::Messages;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Serves until it is killed; prints its address.
pub(crate) fn serve(downstream: Option<SocketAddr>) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        // The connection ends with an error at the latest when the load is killed.
        std::thread::spawn(move || answer(stream, downstream));
    }
    Ok(())
}

fn answer(stream: TcpStream, downstream: Option<SocketAddr>) -> IoResult<()> {
    stream.set_nodelay(true)?;
    let mut answers = stream.try_clone()?;
    let mut forward = match downstream {
        Some(address) => Some(Forward::connect(address)?),
        None => None,
    };
    let mut requests = Messages::new(stream);
    while let Some(request) = requests.next()? {
        if let Some(forward) = &mut forward
            && !request.is_get()
        {
            forward.send(request.head, request.body)?;
        }
        answers.write_all(ANSWER)?;
    }
    Ok(())
}

struct Forward {
    stream: TcpStream,
    answers: Messages<TcpStream>,
    whole: Vec<u8>,
}

impl Forward {
    fn connect(address: SocketAddr) -> IoResult<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            answers: Messages::new(stream.try_clone()?),
            stream,
            whole: Vec::new(),
        })
    }

    fn send(&mut self, head: &[u8], body: &[u8]) -> IoResult<()> {
        self.whole.clear();
        self.whole.extend_from_slice(head);
        self.whole.extend_from_slice(body);
        self.stream.write_all(&self.whole)?;
        self.answers.next().map(drop)
    }
}
