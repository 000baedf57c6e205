//! What the suite needs of a backend, and the values that it stores.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{Mergeable, SnappyProtobuf, Store, keep_larger};

/// A backend under test.
#[async_trait]
pub trait Backend: Send + Sync {
    /// A handle to the stored data; all handles of one backend see the same data.
    async fn open(&self) -> Arc<dyn Store<Counter>>;
}

/// The value that the suite stores.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, prost::Message)]
pub struct Counter {
    /// Only grows.
    #[prost(int64, tag = "1")]
    pub value: i64,
    /// Who wrote it.
    #[prost(string, tag = "2")]
    pub writer: String,
}

/// The codec of [`Counter`].
pub const CODEC: SnappyProtobuf<Counter> = SnappyProtobuf::new("conformanceCounter");

impl Mergeable for Counter {
    fn merge(&mut self, other: &Self) -> bool {
        keep_larger(self, other)
    }
}

/// A value of the suite's own.
pub(super) fn counter(value: i64) -> Counter {
    Counter {
        value,
        writer: "suite".into(),
    }
}
