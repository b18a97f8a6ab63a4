//! What tests share: one server for the whole run, a schema for each test, waiting without sleeping.

#![allow(dead_code, unused_imports)] // each test binary uses its own part

mod clean_up;
pub mod control;
mod database;
mod program;
mod query;
mod seed;
pub mod terminal;
mod wait;

use std::path::Path;

use lockkeeper::server::{Server, ServerOptions};
use tokio::sync::OnceCell;

pub use clean_up::clean_up;
pub use database::TestDatabase;
pub use program::{Answer, Running, answer, program, without_settings};
pub use query::{column, one, run};
pub use seed::seed;
pub use wait::{PATIENCE, eventually};

/// The server of this test run: the one that `LOCKKEEPER_TEST_URL` names, else one that every test of the
/// run shares, whatever process it is in. It ends by itself about a second after the last test.
pub async fn server() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER
        .get_or_init(|| async {
            let pointer = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mysql-server");
            Server::named_or_shared(&pointer, ServerOptions::relaxed("tests"))
                .await
                .expect("a MySQL server for the tests")
        })
        .await
}

/// Private servers, started at once: for tests with several deployments, or that kill or freeze one.
pub async fn private_servers(count: usize) -> Vec<Server> {
    let starts =
        (0..count).map(|number| Server::start(ServerOptions::relaxed(&format!("tests-{number}"))));
    futures_util::future::try_join_all(starts)
        .await
        .expect("private MySQL servers")
}
