//! The deadline of a call: `grpc-timeout`.

use std::time::Duration;

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use tonic::Status;

/// Cancels a call at its client's deadline. For a stream, this applies until it begins; then its
/// client ends it.
pub(super) async fn enforce(request: Request, next: Next) -> Response {
    let Some(header) = request.headers().get("grpc-timeout") else {
        return next.run(request).await;
    };
    let Some(timeout) = parse(header) else {
        return refuse(&Status::invalid_argument(
            "grpc-timeout: must be up to 8 digits and one of H, M, S, m, u, n",
        ));
    };
    match tokio::time::timeout(timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refuse(&Status::deadline_exceeded(format!(
            "the call was not finished within its deadline of {timeout:?}"
        ))),
    }
}

fn refuse(status: &Status) -> Response {
    status.clone().into_http()
}

/// As gRPC's specification of its wire format has it.
fn parse(header: &HeaderValue) -> Option<Duration> {
    let text = header.to_str().ok()?;
    let unit = text.chars().next_back()?;
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit())
    {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(number * 3600),
        'M' => Duration::from_secs(number * 60),
        'S' => Duration::from_secs(number),
        'm' => Duration::from_millis(number),
        'u' => Duration::from_micros(number),
        'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_eight_digits_and_a_unit() {
        let parsed = |text: &str| parse(&HeaderValue::from_str(text).unwrap());
        assert_eq!(parsed("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(parsed("2M"), Some(Duration::from_secs(120)));
        assert_eq!(parsed("15S"), Some(Duration::from_secs(15)));
        assert_eq!(parsed("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parsed("7u"), Some(Duration::from_micros(7)));
        assert_eq!(parsed("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for wrong in ["", "S", "1", "1s", "123456789S", "-1S", "1.5S", "1 S", "1é"] {
            assert_eq!(
                parse(&HeaderValue::from_bytes(wrong.as_bytes()).unwrap()),
                None,
                "{wrong}"
            );
        }
    }
}
