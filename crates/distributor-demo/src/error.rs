//! Why the demo cannot begin.

use std::io;

use distributor::StartError;
use distributor_config::ConfigErrors;

/// Why the demo cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error("its configuration has mistakes: {0}")]
    Config(ConfigErrors),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the sink cannot listen: {0}")]
    Sink(io::Error),
    #[error("no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}
