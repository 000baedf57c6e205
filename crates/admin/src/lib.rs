//! The distributor's pages: HTML for people, JSON ([`admin_api`]) for programs, metrics for Prometheus.
//!
//! [`router`] serves them. Which there are, under which names, is one table ([`ROUTES`]). A page is
//! given the parts that it shows, and those are only asked: no page changes anything.
//!
//! Pages share a listener with pushes, and must never cost them anything: what grows with what there is
//! is made off the runtime's workers, one at a time, and lent to its readers compressed. What needs
//! attention ([`Health`]) is found by asking each part, not told by it.
//!
//! It knows the parts that it shows, and how HTTP asks for a page; not how they are composed.

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
