//! Lockkeeper: ordered online schema changes for fleets of MySQL servers, ruled by stored procedures.

pub mod bench;
pub mod cli;
pub mod config;
pub mod control;
pub mod demo;
pub mod drive;
pub mod engine;
pub mod install;
pub mod load;
pub mod preflight;
mod progress;
pub mod server;
pub mod server_error;
mod server_version;
mod text;
