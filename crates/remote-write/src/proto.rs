//! The complete messages of both versions, as prost decodes them, and the scan as a full decoder
//! would do it. For tests, fuzzing, benchmarks and tools.

pub mod reference;
pub mod v1;
pub mod v2;
