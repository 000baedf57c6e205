//! Details of a status: Mimir's components tell causes apart by them, not by codes.

use bytes::Bytes;
use prost::Message;
use tonic::Code;

/// `cortexpb.ErrorCause`, as far as there is such a cause here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorCause {
    ReplicasDidNotMatch = 1,
    TooManyClusters = 2,
    BadData = 3,
    IngestionRateLimited = 4,
    InstanceLimit = 6,
    ServiceUnavailable = 7,
}

/// The type of [`ErrorDetails`] in an [`Any`].
const TYPE_URL: &str = "type.googleapis.com/cortexpb.ErrorDetails";

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `cortexpb.ErrorDetails`, of `proto/cortexpb.proto`.
#[derive(Clone, PartialEq, Message)]
struct ErrorDetails {
    #[prost(int32, tag = "1")]
    cause: i32,
    #[prost(bool, tag = "2")]
    soft: bool,
}

/// The status with this code and message once more, with its cause: what `grpc-status-details-bin`
/// holds.
pub(super) fn details(code: Code, message: &str, cause: ErrorCause) -> Bytes {
    let details = ErrorDetails {
        cause: cause as i32,
        soft: false,
    };
    let status = RpcStatus {
        code: code as i32,
        message: message.to_owned(),
        details: vec![Any {
            type_url: TYPE_URL.to_owned(),
            value: details.encode_to_vec(),
        }],
    };
    status.encode_to_vec().into()
}
