//! The distributor's pages: HTML for people, JSON ([`admin_api`]) for programs, metrics for Prometheus.
//!
//! [`router`] serves them; all paths are in one table ([`ROUTES`]). A page gets the components that
//! it shows, and only reads them: no page changes anything.
//!
//! Pages share a listener with pushes, and must never slow these down: pages whose size grows with
//! the number of clusters or tenants are rendered outside the runtime's workers, one at a time, and
//! lent to their readers compressed. Conditions ([`Health`]) are found by polling each component.
//!
//! This crate knows the components that it shows, and HTTP; not how the components are composed.

mod accept;
mod answer;
mod exposition;
mod health;
mod lending;
mod multi_kv;
mod pages;
mod readiness;
mod router;
mod routes;
mod view;

pub use answer::text;
pub use exposition::{Exposition, encode};
pub use health::{Health, HealthSources};
pub use multi_kv::MultiKv;
pub use readiness::Readiness;
pub use router::router;
pub use routes::{Page, ROUTES, Route, label_of};
pub use view::{Admin, Build};
