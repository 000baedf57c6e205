//! The null receiver: reads bodies and answers, and before that decompresses, compresses and forwards
//! them if it is told to. It checks nothing, limits nothing and counts nothing; each connection has a
//! thread that waits for it. So it is the least that a receiver can cost.

use std::io::{Error, Result as IoResult, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::Result;
use bench::reference::Codec;

use crate::message::Messages;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// What it does with a body besides reading it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Work {
    pub(crate) decompresses: bool,
    /// So many of the decompressed bytes, and forwards the result instead of the body.
    pub(crate) compresses: Option<usize>,
    /// Where the body is forwarded to.
    pub(crate) downstream: Option<SocketAddr>,
}

impl Work {
    /// As arguments of the program.
    pub(crate) fn arguments(self) -> Vec<String> {
        let mut arguments = Vec::new();
        if self.decompresses {
            arguments.push("--decompress".to_owned());
        }
        if let Some(bytes) = self.compresses {
            arguments.push(format!("--compress={bytes}"));
        }
        if let Some(downstream) = self.downstream {
            arguments.push(format!("--forward={downstream}"));
        }
        arguments
    }

    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut work = Self::default();
        for argument in arguments {
            match argument.split_once('=') {
                None if argument == "--decompress" => work.decompresses = true,
                Some(("--compress", bytes)) => work.compresses = Some(bytes.parse()?),
                Some(("--forward", address)) => work.downstream = Some(address.parse()?),
                _ => anyhow::bail!("unknown argument {argument:?} of the null receiver"),
            }
        }
        Ok(work)
    }
}

/// Serves until it is killed; prints its address.
pub(crate) fn serve(work: Work) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        // The connection ends with an error at the latest when the load is killed.
        std::thread::spawn(move || answer(stream, work));
    }
    Ok(())
}

fn answer(stream: TcpStream, work: Work) -> IoResult<()> {
    stream.set_nodelay(true)?;
    let mut answers = stream.try_clone()?;
    let mut codec = Codec::default();
    let mut forward = match work.downstream {
        Some(address) => Some(Forward::connect(address)?),
        None => None,
    };
    let mut requests = Messages::new(stream);
    while let Some(request) = requests.next()? {
        if !request.is_get() {
            if work.decompresses {
                codec.decompress(request.body).map_err(Error::other)?;
            }
            let mut body = request.body;
            if let Some(bytes) = work.compresses {
                body = codec.compress_again(bytes).map_err(Error::other)?;
            }
            if let Some(forward) = &mut forward {
                forward.send(request.head, body)?;
            }
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
        // The last header is the length of the body as it came.
        let lines = head.strip_suffix(b"\r\n\r\n").unwrap_or(head);
        let others = lines.iter().rposition(|byte| *byte == b'\n');
        let others = head.get(..=others.unwrap_or_default());
        self.whole.extend_from_slice(others.unwrap_or_default());
        write!(self.whole, "Content-Length: {}\r\n\r\n", body.len())?;
        self.whole.extend_from_slice(body);
        self.stream.write_all(&self.whole)?;
        self.answers.next().map(drop)
    }
}
