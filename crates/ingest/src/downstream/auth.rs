//! How requests to a downstream are authenticated.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use http::header::InvalidHeaderValue;
use tokio::time::Instant;

use crate::config::DownstreamConfig;

/// A token file is read again when what is known of it is older than this.
const TOKEN_FILE_AGE: Duration = Duration::from_secs(10);

/// Makes the `Authorization` header.
pub(super) enum Authorization {
    None,
    Fixed(HeaderValue),
    TokenFile {
        path: PathBuf,
        known: ArcSwapOption<(Instant, HeaderValue)>,
    },
}

impl Authorization {
    /// At most one of them is configured.
    pub(super) fn new(config: &DownstreamConfig) -> Result<Self, InvalidHeaderValue> {
        if let Some(basic) = &config.basic_auth {
            let header = basic_header(&basic.username, basic.password.expose())?;
            return Ok(Self::Fixed(header));
        }
        if let Some(token) = &config.bearer_token {
            return Ok(Self::Fixed(bearer_header(token.expose())?));
        }
        Ok(match &config.bearer_token_file {
            Some(path) => Self::TokenFile {
                path: path.clone(),
                known: ArcSwapOption::empty(),
            },
            None => Self::None,
        })
    }

    /// The header's value now. A token file that cannot be read is an error only if it never could.
    pub(super) async fn header(&self) -> Result<Option<HeaderValue>, String> {
        let (path, known) = match self {
            Self::None => return Ok(None),
            Self::Fixed(value) => return Ok(Some(value.clone())),
            Self::TokenFile { path, known } => (path, known),
        };
        let before = known.load_full();
        if let Some(before) = before.as_deref()
            && before.0.elapsed() < TOKEN_FILE_AGE
        {
            return Ok(Some(before.1.clone()));
        }
        let read = match tokio::fs::read_to_string(path).await {
            Ok(text) => bearer_header(text.trim()).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let header = match (read, before) {
            (Ok(header), _) => header,
            (Err(error), Some(before)) => {
                let path = path.display();
                tracing::warn!(%path, error, "cannot read the bearer token file again; keeping the token");
                before.1.clone()
            }
            (Err(error), None) => {
                return Err(format!("bearer token file {}: {error}", path.display()));
            }
        };
        known.store(Some(Arc::new((Instant::now(), header.clone()))));
        Ok(Some(header))
    }
}

fn basic_header(username: &str, password: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    use base64::Engine as _;
    let pair = format!("{username}:{password}");
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    sensitive(&format!("Basic {encoded}"))
}

fn bearer_header(token: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    sensitive(&format!("Bearer {token}"))
}

fn sensitive(text: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(text)?;
    value.set_sensitive(true);
    Ok(value)
}
