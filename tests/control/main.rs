//! The cases of the control plane, each a test that reads like the case: given, when, then. In every test o1, o2, o3 are the
//! operations of one apply in order, on the deployments d1, d2, d3.

#[path = "../support/mod.rs"]
mod support;

mod apply_state;
mod cancel;
mod catalogue;
mod copy_gate;
mod crowd;
mod cutover_gate;
mod cutover_requests;
mod deployments;
mod drivers;
mod health;
mod hostile;
mod leases;
mod next_swap;
mod on_failure;
mod parking;
mod progress;
mod recovery;
mod requests;
mod retry;
mod rights;
mod schema;
mod stop_start;
mod submit;
mod terminality;
mod together;
mod transactions;
mod views;
mod waiting;
mod windows;
