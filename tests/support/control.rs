//! The control plane as its callers see it: sessions that CALL, and a fleet of deployments to roll out to.

/// Arguments of a call, by position.
macro_rules! arguments {
    ($($value:expr),* $(,)?) => {
        &[$($crate::support::control::Argument::from($value)),*]
    };
}

mod fleet;
mod pool;
mod rows;
mod session;

pub(crate) use arguments;
pub use fleet::{Apply, Fleet};
pub use pool::{Lent, lend};
pub use rows::{Answer, Beat, Blocked, Claim, Row};
pub use session::{Argument, Outcome, Refusal, Session};

/// The refusal of a call that must be refused with `number`; panics if it was accepted, or refused otherwise.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(number: u16, outcome: Outcome<T>) -> Refusal {
    match outcome {
        Err(refusal) if refusal.number == number => refusal,
        other => panic!("expected refusal {number}, found {other:?}"),
    }
}
