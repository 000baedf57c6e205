//! Reads messages of HTTP/1.1 that are known to be harmless, as cheaply as it goes.

use std::io::{Error, ErrorKind, Read, Result};

/// Bytes that are read at once: the usual request in one piece.
const FIRST: usize = 64 << 10;

/// Reads one message after the other from a connection.
pub(crate) struct Messages<R> {
    source: R,
    buffer: Vec<u8>,
}

/// The last message that was read.
pub(crate) struct Message<'a> {
    pub(crate) head: &'a [u8],
    pub(crate) body: &'a [u8],
}

impl<R: Read> Messages<R> {
    pub(crate) fn new(source: R) -> Self {
        Self {
            source,
            buffer: vec![0; FIRST],
        }
    }

    /// The next one; `None` if the connection was closed before it. Nothing may come before its answer.
    pub(crate) fn next(&mut self) -> Result<Option<Message<'_>>> {
        let (mut filled, mut lengths) = (0, None);
        loop {
            if lengths.is_none() {
                lengths = lengths_of(self.buffer.get(..filled).unwrap_or_default())?;
            }
            let end = lengths.map(|(head, body)| head + body);
            if end.is_some_and(|end| filled >= end) {
                break;
            }
            if end.unwrap_or(filled + 1) > self.buffer.len() {
                self.buffer.resize(end.unwrap_or(2 * filled), 0);
            }
            match self
                .source
                .read(self.buffer.get_mut(filled..).unwrap_or_default())?
            {
                0 if filled == 0 => return Ok(None),
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        let (head, body) = lengths.unwrap_or_default();
        let (head, rest) = self.buffer.split_at(head);
        Ok(Some(Message {
            head,
            body: rest.get(..body).unwrap_or_default(),
        }))
    }
}

impl Message<'_> {
    /// Of an answer.
    pub(crate) fn status(&self) -> Option<u16> {
        std::str::from_utf8(self.head.get(9..12)?)
            .ok()?
            .parse()
            .ok()
    }

    /// Of a request.
    pub(crate) fn is_get(&self) -> bool {
        self.head.starts_with(b"GET ")
    }
}

/// Of head and body, once the head is complete.
fn lengths_of(bytes: &[u8]) -> Result<Option<(usize, usize)>> {
    let mut begin = 0;
    let mut body = 0;
    while let Some(length) = bytes
        .get(begin..)
        .and_then(|rest| rest.iter().position(|byte| *byte == b'\n'))
    {
        let line = bytes.get(begin..begin + length).unwrap_or_default();
        begin += length + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Ok(Some((begin, body)));
        }
        let name = b"content-length:";
        if line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name) {
            let value = std::str::from_utf8(&line[name.len()..]).map_err(Error::other)?;
            body = value.trim().parse().map_err(Error::other)?;
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Brings a few bytes at a time.
    struct Slowly<'a>(&'a [u8], usize);

    impl Read for Slowly<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
            let most = self.1.min(buffer.len());
            (&mut self.0).take(most as u64).read(buffer)
        }
    }

    #[test]
    fn messages_are_read_however_they_come() {
        let body = vec![b'x'; 2 * FIRST];
        let head = format!(
            "HTTP/1.1 202 Accepted\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let whole = [head.as_bytes(), &body].concat();
        for step in [1_000, 7, whole.len()] {
            let mut messages = Messages::new(Slowly(&whole, step));
            let message = messages.next().unwrap().unwrap();
            assert_eq!(message.status(), Some(202));
            assert_eq!(message.body, body);
            assert!(messages.next().unwrap().is_none());
        }
        let cut = &whole[..whole.len() - 1];
        assert!(Messages::new(Slowly(cut, 100)).next().is_err());
    }
}
