//! Heads of answers of HTTP/1.1, and where their bodies end.

use std::io::{Error, ErrorKind, Result};
use std::mem::MaybeUninit;

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use httparse::{Header, Response, Status, parse_chunk_size};

/// An answer may have so many headers.
const MOST_HEADERS: usize = 100;
/// Longest line between the chunks of a body, bytes.
const LONGEST_LINE: usize = 4096;

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
    /// The connection may be used again after the body.
    pub(super) is_reusable: bool,
}

/// What is left of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Done,
    Length(u64),
    UntilClose,
    /// The line with the length of a chunk comes next.
    ChunkLine,
    /// So many bytes of a chunk, and the end of its line.
    Chunk(u64),
    Trailers,
}

/// What the next bytes of a body are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// So many bytes of it.
    Data(usize),
    /// So many bytes between.
    Skip(usize),
    /// It takes more bytes to know.
    More,
    End,
}

/// Reads the head of an answer, and says how long it is; `None` if it is not complete.
///
/// # Errors
/// It is not HTTP/1.
pub(super) fn read_head(bytes: &[u8]) -> Result<Option<(Head, usize)>> {
    let mut parsed = [const { MaybeUninit::<Header<'_>>::uninit() }; MOST_HEADERS];
    let mut response = Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let length = match parser.parse_response_with_uninit_headers(&mut response, bytes, &mut parsed)
    {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(invalid(&format!("its head is not HTTP/1: {error}"))),
    };
    let mut headers = HeaderMap::with_capacity(response.headers.len());
    for header in &*response.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_bytes(header.value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(invalid("it has a header that is not valid"));
        };
        headers.append(name, value);
    }
    let status = response.code.unwrap_or_default();
    let status = StatusCode::from_u16(status).map_err(|_| invalid("its status is not valid"))?;
    let framing = framing_of(status, &headers)?;
    let names = |name: &str| {
        let values = headers.get_all(CONNECTION).into_iter();
        let mut options = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
    };
    let is_kept = match response.version {
        Some(1) => !names("close"),
        _ => names("keep-alive"),
    };
    Ok(Some((
        Head {
            status,
            is_reusable: is_kept && framing != Framing::UntilClose,
            framing,
            headers,
        },
        length,
    )))
}

/// As RFC 9112, section 6.3, for the answer to a POST.
fn framing_of(status: StatusCode, headers: &HeaderMap) -> Result<Framing> {
    if status.is_informational() || matches!(status.as_u16(), 204 | 304) {
        return Ok(Framing::Done);
    }
    if let Some(last) = headers.get_all(TRANSFER_ENCODING).into_iter().next_back() {
        let coding = last.as_bytes().rsplit(|byte| *byte == b',').next();
        let is_chunked =
            coding.is_some_and(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked"));
        return Ok(match is_chunked {
            true => Framing::ChunkLine,
            false => Framing::UntilClose,
        });
    }
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let number = value.to_str().ok().map(str::trim);
        let is_number = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.filter(is_number).and_then(|text| text.parse().ok());
        match (number, length) {
            (Some(number), None) => length = Some(number),
            (Some(number), Some(before)) if number == before => {}
            _ => return Err(invalid("its content-length is not valid")),
        }
    }
    Ok(length.map_or(Framing::UntilClose, Framing::Length))
}

impl Framing {
    /// What `bytes`, the next ones, are.
    ///
    /// # Errors
    /// They are no chunk.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Result<Step> {
        let part = |left: u64| usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        Ok(match *self {
            Self::Done | Self::Length(0) => {
                *self = Self::Done;
                Step::End
            }
            Self::Chunk(0) => match bytes {
                [b'\r', b'\n', ..] => {
                    *self = Self::ChunkLine;
                    Step::Skip(2)
                }
                [] | [b'\r'] => Step::More,
                _ => return Err(invalid("a chunk of its body has no end")),
            },
            Self::ChunkLine => match parse_chunk_size(bytes) {
                Ok(Status::Complete((used, size))) => {
                    *self = if size == 0 {
                        Self::Trailers
                    } else {
                        Self::Chunk(size)
                    };
                    Step::Skip(used)
                }
                Ok(Status::Partial) if bytes.len() < LONGEST_LINE => Step::More,
                _ => return Err(invalid("a chunk of its body is not valid")),
            },
            Self::Trailers => match bytes.windows(2).position(|two| two == b"\r\n") {
                Some(0) => {
                    *self = Self::Done;
                    Step::Skip(2)
                }
                Some(line) => Step::Skip(line + 2),
                None if bytes.len() < LONGEST_LINE => Step::More,
                None => return Err(invalid("the trailers of its body are too long")),
            },
            _ if bytes.is_empty() => Step::More,
            Self::UntilClose => Step::Data(bytes.len()),
            Self::Length(left) => {
                *self = Self::Length(left - part(left) as u64);
                Step::Data(part(left))
            }
            Self::Chunk(left) => {
                *self = Self::Chunk(left - part(left) as u64);
                Step::Data(part(left))
            }
        })
    }
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        let (head, length) = read_head(text.as_bytes()).unwrap().unwrap();
        assert_eq!(length, text.len());
        head
    }

    #[test]
    fn heads_say_how_the_body_ends() {
        let framing = |headers: &str| head(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n")).framing;
        assert_eq!(framing("Content-Length: 12\r\n"), Framing::Length(12));
        assert_eq!(framing(""), Framing::UntilClose);
        assert_eq!(
            framing("Transfer-Encoding: gzip, Chunked\r\n"),
            Framing::ChunkLine
        );
        // Chunks win.
        let both = "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(framing(both), Framing::ChunkLine);
        assert_eq!(
            head("HTTP/1.1 204 No Content\r\n\r\n").framing,
            Framing::Done
        );
        assert_eq!(head("HTTP/1.1 100 Continue\r\n\r\n").framing, Framing::Done);
    }

    #[test]
    fn heads_say_whether_the_connection_stays() {
        let stays = |text: &str| head(text).is_reusable;
        assert!(stays("HTTP/1.1 204 No Content\r\n\r\n"));
        assert!(!stays(
            "HTTP/1.1 204 No Content\r\nConnection: x, Close\r\n\r\n"
        ));
        assert!(!stays("HTTP/1.1 200 OK\r\n\r\n"));
        assert!(!stays("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"));
        assert!(stays(
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"
        ));
    }

    #[test]
    fn what_is_not_http_is_an_error() {
        for text in [
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 099 What\r\n\r\n",
        ] {
            read_head(text.as_bytes()).unwrap_err();
        }
        let text = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
        for end in 0..text.len() {
            assert!(
                read_head(&text.as_bytes()[..end]).unwrap().is_none(),
                "{end}"
            );
        }
    }

    /// Reads a body that comes in pieces of this size.
    fn read_body(mut framing: Framing, text: &[u8], piece: usize) -> Result<(Vec<u8>, usize)> {
        let (mut body, mut begin, mut end) = (Vec::new(), 0, 0);
        loop {
            match framing.step(&text[begin..end])? {
                Step::Data(length) => {
                    body.extend_from_slice(&text[begin..begin + length]);
                    begin += length;
                }
                Step::Skip(length) => begin += length,
                Step::More if end == text.len() => return Err(ErrorKind::UnexpectedEof.into()),
                Step::More => end = text.len().min(end + piece),
                Step::End => return Ok((body, begin)),
            }
        }
    }

    #[test]
    fn bodies_end_where_they_say() {
        let chunks = b"5\r\nabcde\r\n3;x=y\r\nfgh\r\n0\r\nTrailer: t\r\n\r\nnext";
        for piece in [1, 2, 7, 100] {
            let (body, end) = read_body(Framing::ChunkLine, chunks, piece).unwrap();
            assert_eq!((body.as_slice(), end), (&b"abcdefgh"[..], chunks.len() - 4));
            let (body, end) = read_body(Framing::Length(3), b"abcd", piece).unwrap();
            assert_eq!((body.as_slice(), end), (&b"abc"[..], 3));
            assert!(read_body(Framing::ChunkLine, &chunks[..30], piece).is_err());
            assert!(read_body(Framing::ChunkLine, b"5\r\nabcdefgh", piece).is_err());
            assert!(read_body(Framing::ChunkLine, b"zz\r\n", piece).is_err());
        }
    }
}
