//! Which schema and which compression a request announces.

/// The schema of a request, decided by its content type alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// `prometheus.WriteRequest`, remote write 1.0.
    V1,
    /// `io.prometheus.write.v2.Request`, remote write 2.0.
    V2,
}

const MEDIA_TYPE: &str = "application/x-protobuf";
const V1_MESSAGE: &str = "prometheus.WriteRequest";
const V2_MESSAGE: &str = "io.prometheus.write.v2.Request";

impl Version {
    /// The content type that announces this version to a receiver.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::V1 => "application/x-protobuf",
            Self::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }

    /// The value of `X-Prometheus-Remote-Write-Version`.
    pub fn header(self) -> &'static str {
        match self {
            Self::V1 => "0.1.0",
            Self::V2 => "2.0.0",
        }
    }
}

/// A content type or encoding that no receiver of remote write supports: HTTP 415.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsupportedMediaType {
    /// A media type that is not remote write's: what it holds may still be a request of 1.0, from a
    /// sender that does not say so.
    #[error(
        "unsupported Content-Type {got:?}: supported are {MEDIA_TYPE}, \
         {MEDIA_TYPE};proto={V1_MESSAGE} and {MEDIA_TYPE};proto={V2_MESSAGE}"
    )]
    ContentType {
        /// The header value, at most 200 bytes of it.
        got: String,
    },
    /// Remote write's media type with the name of another message: what it holds is no request of 1.0
    /// or 2.0.
    #[error(
        "unsupported Content-Type {got:?}: supported are {MEDIA_TYPE}, \
         {MEDIA_TYPE};proto={V1_MESSAGE} and {MEDIA_TYPE};proto={V2_MESSAGE}"
    )]
    Message {
        /// The header value, at most 200 bytes of it.
        got: String,
    },
    /// The compression.
    #[error("unsupported Content-Encoding {got:?}: supported is snappy")]
    ContentEncoding {
        /// The header value, at most 200 bytes of it.
        got: String,
    },
}

/// Bytes of a refused header value that an error repeats.
const SHOWN: usize = 200;

fn shown(value: &[u8]) -> String {
    String::from_utf8_lossy(value.get(..SHOWN).unwrap_or(value)).into_owned()
}

/// The version that a `Content-Type` announces. Absent or empty means 1.0.
///
/// The media type and the parameter name are case-insensitive, the message name is not; spaces
/// around `;` and `=` and quotes around the message name are tolerated; parameters other than
/// `proto` are ignored; of several `proto` the first counts.
pub fn version_of_content_type(value: Option<&[u8]>) -> Result<Version, UnsupportedMediaType> {
    let Some(bytes) = value else {
        return Ok(Version::V1);
    };
    let refused = || UnsupportedMediaType::ContentType { got: shown(bytes) };
    let text = std::str::from_utf8(bytes).map_err(|_| refused())?.trim();
    if text.is_empty() {
        return Ok(Version::V1);
    }
    let mut parts = text.split(';').map(str::trim);
    if !parts
        .next()
        .is_some_and(|media_type| media_type.eq_ignore_ascii_case(MEDIA_TYPE))
    {
        return Err(refused());
    }
    let refused = || UnsupportedMediaType::Message { got: shown(bytes) };
    for parameter in parts.filter(|parameter| !parameter.is_empty()) {
        let (name, message) = parameter.split_once('=').ok_or_else(refused)?;
        if !name.trim().eq_ignore_ascii_case("proto") {
            continue;
        }
        return match unquoted(message.trim()) {
            V1_MESSAGE => Ok(Version::V1),
            V2_MESSAGE => Ok(Version::V2),
            _ => Err(refused()),
        };
    }
    Ok(Version::V1)
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(text)
}

/// Refuses every `Content-Encoding` but `snappy` (any case). Absent or empty is read as snappy.
pub fn check_content_encoding(value: Option<&[u8]>) -> Result<(), UnsupportedMediaType> {
    let bytes = value.unwrap_or_default();
    let encoding = bytes.trim_ascii();
    if encoding.is_empty() || encoding.eq_ignore_ascii_case(b"snappy") {
        return Ok(());
    }
    Err(UnsupportedMediaType::ContentEncoding { got: shown(bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_of_the_specification() {
        let v1 = [
            None,
            Some(""),
            Some("application/x-protobuf"),
            Some("application/x-protobuf;"),
            Some("Application/X-Protobuf"),
            Some("application/x-protobuf;charset=utf-8"),
            Some("application/x-protobuf;proto=prometheus.WriteRequest"),
            Some(" application/x-protobuf ; Proto = prometheus.WriteRequest "),
        ];
        for value in v1 {
            assert_eq!(
                version_of_content_type(value.map(str::as_bytes)),
                Ok(Version::V1)
            );
        }
        let v2 = [
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            "application/x-protobuf; proto=io.prometheus.write.v2.Request",
            "APPLICATION/x-protobuf ; q=1; proto = \"io.prometheus.write.v2.Request\"",
            Version::V2.content_type(),
        ];
        for value in v2 {
            assert_eq!(
                version_of_content_type(Some(value.as_bytes())),
                Ok(Version::V2)
            );
        }
    }

    #[test]
    fn other_content_types_are_named_in_the_error() {
        let refused: [&[u8]; 7] = [
            b"text/plain",
            b"application/json",
            b"application/x-protobuf;proto=io.prometheus.write.v3.Request",
            b"application/x-protobuf;proto=IO.prometheus.write.v2.request",
            b"application/x-protobuf;proto",
            b"application/x-protobuf2",
            b"\xff",
        ];
        for value in refused {
            let error = version_of_content_type(Some(value))
                .unwrap_err()
                .to_string();
            assert!(error.contains("io.prometheus.write.v2.Request"), "{error}");
            assert!(error.contains(&*String::from_utf8_lossy(value)), "{error}");
            assert!(!error.contains('\n'));
        }
        for (value, is_media_type) in refused
            .iter()
            .zip([true, true, false, false, false, true, true])
        {
            let error = version_of_content_type(Some(value)).unwrap_err();
            let found = matches!(error, UnsupportedMediaType::ContentType { .. });
            assert_eq!(found, is_media_type, "{error}");
        }
        let long = version_of_content_type(Some(&[b'a'; 9000]))
            .unwrap_err()
            .to_string();
        assert!(long.len() < 500);
    }

    #[test]
    fn content_encodings() {
        for value in [None, Some(""), Some("snappy"), Some(" Snappy ")] {
            assert_eq!(check_content_encoding(value.map(str::as_bytes)), Ok(()));
        }
        for value in ["gzip", "zstd", "identity", "snappy, gzip", "x\ny"] {
            let error = check_content_encoding(Some(value.as_bytes()))
                .unwrap_err()
                .to_string();
            assert!(error.contains("snappy") && !error.contains('\n'), "{error}");
        }
    }
}
