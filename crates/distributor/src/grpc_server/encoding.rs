//! Compressed messages of a push, as Mimir's `grpc_compression` makes them.

use http::HeaderMap;
use ingest::{Cause, Compression, Rejection};
use tonic::Status;
use tonic::metadata::MetadataValue;

use super::refused::Refused;

/// What the client does to its messages; absent with those that are as they are.
const HEADER: &str = "grpc-encoding";
/// What we can undo, told to a client that does something else.
const ACCEPTED: &str = "identity,gzip,snappy";

/// How the messages of a call with these headers are compressed, if their flag says that they are.
pub(super) fn compression(headers: &HeaderMap) -> Result<Option<Compression>, Refused> {
    let Some(value) = headers.get(HEADER) else {
        return Ok(None);
    };
    match value.as_bytes() {
        b"identity" => Ok(None),
        b"gzip" => Ok(Some(Compression::Gzip)),
        b"snappy" => Ok(Some(Compression::SnappyFrames)),
        other => Err(unsupported(&String::from_utf8_lossy(other))),
    }
}

fn unsupported(encoding: &str) -> Refused {
    let problem = format!(
        "{HEADER} {encoding:?} is not supported; use one of {ACCEPTED} (in Mimir: \
         grpc_compression gzip, snappy or empty)"
    );
    let mut status = Status::unimplemented(&problem);
    let accepted = MetadataValue::from_static(ACCEPTED);
    status
        .metadata_mut()
        .insert("grpc-accept-encoding", accepted);
    let rejection = Rejection::refused(Cause::UnsupportedMediaType, problem);
    Refused::with_status(rejection, status)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn others_are_told_what_there_is() {
        let of = |value: &'static str| {
            let headers = [(HEADER.parse().unwrap(), value.parse().unwrap())];
            compression(&headers.into_iter().collect())
        };
        assert_eq!(compression(&HeaderMap::new()).unwrap(), None);
        assert_eq!(of("identity").unwrap(), None);
        assert_eq!(of("gzip").unwrap(), Some(Compression::Gzip));
        assert_eq!(of("snappy").unwrap(), Some(Compression::SnappyFrames));
        let (_, error) = of("s2").unwrap_err().into_parts();
        assert_eq!(error.code(), Code::Unimplemented);
        assert_eq!(
            error.metadata().get("grpc-accept-encoding").unwrap(),
            ACCEPTED
        );
    }
}
