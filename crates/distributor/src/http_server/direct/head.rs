//! The head of a usual push request.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
    UPGRADE,
};
use httparse::{Header, Request, Status};

/// A head with more headers is left to the usual server.
const MOST_HEADERS: usize = 64;

/// What a client has begun with.
#[derive(Debug)]
pub(super) enum Begun {
    /// A push request whose head is complete.
    Push(Head),
    /// So far it may be one.
    Incomplete,
    /// Something else, or something wrong: the usual server knows.
    Other,
}

#[derive(Debug)]
pub(super) struct Head {
    /// Which of the paths it is for.
    pub(super) path: usize,
    pub(super) headers: HeaderMap,
    /// Bytes of the head.
    pub(super) length: usize,
    /// Bytes of the body.
    pub(super) body: u64,
}

/// Reads the beginning of a request. `paths` are those of push requests.
pub(super) fn read(bytes: &[u8], paths: &[String]) -> Begun {
    const METHOD: &[u8] = b"POST ";
    let common = METHOD.len().min(bytes.len());
    if bytes.get(..common) != METHOD.get(..common) {
        return Begun::Other;
    }
    let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; MOST_HEADERS];
    let mut request = Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Begun::Incomplete,
        Err(_) => return Begun::Other,
    };
    let path = paths
        .iter()
        .position(|path| request.path == Some(path.as_str()));
    let (Some(path), Some(1)) = (path, request.version) else {
        return Begun::Other;
    };
    match usual_headers(request.headers) {
        Some((headers, body)) => Begun::Push(Head {
            path,
            headers,
            length,
            body,
        }),
        None => Begun::Other,
    }
}

/// The headers, and the length of the body, unless there is something special about it.
fn usual_headers(parsed: &[Header<'_>]) -> Option<(HeaderMap, u64)> {
    let mut headers = HeaderMap::with_capacity(parsed.len());
    let mut length = None;
    for header in parsed {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        let value = HeaderValue::from_bytes(header.value).ok()?;
        if name == CONTENT_LENGTH {
            let new = decimal(header.value)?;
            if length.replace(new).is_some() {
                return None;
            }
        }
        let closes = name == CONNECTION && !header.value.eq_ignore_ascii_case(b"keep-alive");
        if closes || name == TRANSFER_ENCODING || name == EXPECT || name == UPGRADE {
            return None;
        }
        headers.append(name, value);
    }
    Some((headers, length?))
}

fn decimal(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}

/// What belongs to the usual server, from a buffer that is needed for something else.
pub(super) fn handed_over(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(text: &str) -> Begun {
        read(text.as_bytes(), &["/push".to_owned(), "/a/push".to_owned()])
    }

    #[test]
    fn usual_requests() {
        let text = "POST /a/push HTTP/1.1\r\nHost: x\r\nX-Scope-OrgID: team\r\n\
                    Content-Length: 12\r\nConnection: Keep-Alive\r\n\r\nbody";
        let Begun::Push(head) = read_one(text) else {
            panic!("it is not taken for a push");
        };
        assert_eq!((head.path, head.body), (1, 12));
        assert_eq!(&text[head.length..], "body");
        assert_eq!(head.headers["x-scope-orgid"], "team");
        assert_eq!(head.headers.len(), 4);
        for end in 0..head.length {
            assert!(matches!(read_one(&text[..end]), Begun::Incomplete), "{end}");
        }
    }

    #[test]
    fn everything_else_is_left_to_the_usual_server() {
        for text in [
            "GET /push HTTP/1.1\r\n\r\n",
            "P",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "POST /push HTTP/1.1\r\n\r\n",
            "POST /push HTTP/1.0\r\nContent-Length: 1\r\n\r\n",
            "POST /push?a HTTP/1.1\r\nContent-Length: 1\r\n\r\n",
            "POST /pushes HTTP/1.1\r\nContent-Length: 1\r\n\r\n",
            "POST http://x/push HTTP/1.1\r\nContent-Length: 1\r\n\r\n",
            "POST /push HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "POST /push HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
            "POST /push HTTP/1.1\r\nContent-Length: \r\n\r\n",
            "POST /push HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "POST /push HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST /push HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST /push HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n",
            "POST /push HTTP/1.1\r\nContent-Length: 1\r\nUpgrade: h2c\r\n\r\n",
            "POST /push HTTP/1.1\r\nContent-Length: 1\r\nConnection: close\r\n\r\n",
            "POST /push HTTP/1.1\r\nContent-Length: 1\r\na b: c\r\n\r\n",
            "POST /push HTTP/1.1\r\nContent-Length: 1\r\na: \0\r\n\r\n",
        ] {
            let is_other = matches!(read_one(text), Begun::Other);
            assert_eq!(is_other, text != "P", "{text:?}");
        }
        let many = "A: b\r\n".repeat(MOST_HEADERS + 1);
        let text = format!("POST /push HTTP/1.1\r\nContent-Length: 1\r\n{many}\r\n");
        assert!(matches!(read_one(&text), Begun::Other));
    }
}
