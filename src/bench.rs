//! Measurements against a real server; `lockkeeper bench`.

pub mod claims;
pub mod engine;
mod error;
pub mod fleet;
mod process;
mod report;

pub use error::BenchError;
pub use report::{Figure, Target};
