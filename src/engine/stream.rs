//! Changes from the binlog on their way into the shadow: in which order, in which batches, up to which position.

pub mod apply;
pub mod drain;
pub(super) mod earlier;
pub mod position;
pub(super) mod prepared;
pub mod routing;
pub(super) mod running;
