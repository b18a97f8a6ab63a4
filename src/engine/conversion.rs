//! How the server converts the rows of one definition into those of another, and what that loses.

pub(super) mod insert;
pub(super) mod key_order;
pub(super) mod losses;
pub mod staging;
pub(super) mod types;
