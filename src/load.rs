//! A load on a deployment, a record of every write that was acknowledged, and the independent check against it.
//!
//! What a change engine says of itself proves nothing. Writers here own their keys, so that the state that each key
//! must be in is certain at any time; the check compares the new table with that record, and every row that no writer
//! has touched with what the server itself computed before the change. Nothing of this is shared with the engine.

mod change;
mod check;
mod digest;
mod fill;
mod journal;
mod order;
mod session;
mod swaps;
mod traffic;
mod write;
mod writer;

pub use change::{Change, widen_orders};
pub use check::{Before, Checked, check};
pub use digest::{RowDigest, TableDigest, exact_columns};
pub use fill::{fill, until_written_out};
pub use journal::{Entry, Journal};
pub use order::{Order, TABLE, create_table};
pub use session::LoadError;
pub use swaps::{Swap, SwapOrder, swap_order};
pub use traffic::{Counters, Record, Running, Sample, Traffic};
