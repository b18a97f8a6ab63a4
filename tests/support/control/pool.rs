use std::sync::Mutex;

use super::super::TestDatabase;
use super::session::Session;

/// Schemas that finished tests have left: emptying one takes a hundredth of the time of an installation.
static LEFT: Mutex<Vec<TestDatabase>> = Mutex::new(Vec::new());

/// Everything that tests write. `setting` and `installation` are refilled from the installed set.
const EMPTY: [&str; 12] = [
    "DELETE FROM event",
    "DELETE FROM control_request",
    "DELETE FROM table_hold",
    "DELETE FROM task",
    "DELETE FROM operation_live",
    "DELETE FROM operation",
    "DELETE FROM apply",
    "DELETE FROM driver",
    "DELETE FROM label_scope",
    "DELETE FROM deployment",
    "DELETE FROM setting",
    include_str!("../../../sql/data/setting.sql"),
];

/// An installed schema without rows.
pub async fn take() -> TestDatabase {
    let left = LEFT.lock().expect("no test panics here").pop();
    let Some(database) = left else {
        return TestDatabase::fresh().await;
    };
    let mut session = Session::new(database.connect().await);
    for statement in EMPTY {
        session.run(statement).await.expect("an emptied schema");
    }
    database
}

/// A test that failed may still have calls under way: its schema is left alone.
pub fn give_back(database: TestDatabase) {
    if database.is_reusable() && !std::thread::panicking() {
        LEFT.lock().expect("no test panics here").push(database);
    }
}
