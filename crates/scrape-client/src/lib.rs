//! A client of other processes' pages: HTTP requests within a time and a size ([`get`], [`get_page`]),
//! and the Prometheus text format ([`samples_named`] for a few metrics of a large page, [`Metrics`]
//! for all of it).
//!
//! It knows no page and no metric by name, and no part of the distributor.
//!
//! ```
//! let page = "# TYPE up gauge\nup{job=\"a\"} 1\nup{job=\"b\"} 0\n";
//! let down = scrape_client::samples_named(page, "up").filter(|sample| sample.value == 0.0);
//! let jobs: Vec<_> = down.filter_map(|sample| sample.label("job")).collect();
//! assert_eq!(jobs, ["b"]);
//! ```

mod answer;
mod get;
mod metrics;
mod text_format;

pub use answer::Answer;
pub use get::{ANY, GetError, JSON, client, client_with_headers, get, get_page, plain_client};
pub use metrics::{Labels, Metrics};
pub use text_format::{NotASample, Sample, samples, samples_named, sum};
