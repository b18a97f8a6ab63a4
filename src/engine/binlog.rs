//! The binlog stream, decoded: what the application wrote, as row images that can be applied.

pub mod capture;
pub mod cursor;
mod decimal;
pub mod gtid;
mod guard;
mod jsonb;
mod query;
mod referrers;
pub mod rows;
mod table_map;
mod time;
mod transaction;
pub mod xid;
