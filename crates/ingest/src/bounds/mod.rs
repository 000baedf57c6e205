//! Limits: arriving bodies, requests in flight, memory, long work, samples.

mod arrivals;
mod budget;
mod in_flight;
mod long_work;
mod memory;
mod rate;

pub use arrivals::Arrival;
pub(crate) use arrivals::Arrivals;
pub(crate) use budget::Budget;
pub use budget::Held;
pub(crate) use in_flight::InFlight;
pub use in_flight::InFlightRequest;
#[cfg(test)]
pub(crate) use long_work::LONG_WORK;
pub(crate) use long_work::{LongWork, Turn, is_long};
pub(crate) use memory::push_limit;
pub(crate) use rate::{Charge, TokenBucket};
