//! Where values come from, from the lowest layer to the highest: YAML files, the environment, flags;
//! and how they are put together.

pub(crate) mod collect;
pub(crate) mod environment;
pub(crate) mod flags;
pub(crate) mod layers;
pub(crate) mod meant;
pub(crate) mod yaml;
