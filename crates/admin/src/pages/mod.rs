//! Pages: HTML for people, JSON for `Accept: application/json`.
//!
//! Small ones are rendered directly; those that grow with the number of clusters or entries by the
//! [`PageRenderer`].

mod conditions;
pub(crate) mod config;
mod frame;
pub(crate) mod ha_tracker;
pub(crate) mod index;
pub(crate) mod memberlist;
pub(crate) mod multi_kv;
pub(crate) mod not_found;
mod page_renderer;
mod parts;
mod replica_desc;
pub(crate) mod runtime_config;
pub(crate) mod services;
pub(crate) mod status;
mod table;
mod times;
mod yaml;

pub(crate) use frame::Security;
pub(crate) use page_renderer::PageRenderer;
