//! Changes from the binlog on their way into the shadow: in which order, in which batches, up to which position.

pub mod apply;
pub mod drain;
pub mod position;
pub mod routing;
pub(super) mod running;
pub(super) mod xa_before;
pub(super) mod xa_rows;
