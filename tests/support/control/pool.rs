//! Schemas that tests hand on to each other.

use std::ops::Deref;
use std::sync::Mutex;

use super::super::TestDatabase;
use super::session::Session;

/// Schemas that finished tests have left: emptying one takes a hundredth of the time of an installation.
static LEFT: Mutex<Vec<TestDatabase>> = Mutex::new(Vec::new());

/// Everything that tests write, and the table that some make. `setting` and `installation` are refilled from the installed set.
const EMPTY: [&str; 13] = [
    "DROP TABLE IF EXISTS caller_work",
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

/// A schema that goes to the next test with the end of this one.
pub struct Lent(Option<TestDatabase>);

impl Deref for Lent {
    type Target = TestDatabase;

    fn deref(&self) -> &TestDatabase {
        self.0.as_ref().expect("there until dropped")
    }
}

impl Drop for Lent {
    /// A test that failed may still have calls under way: its schema is left alone.
    fn drop(&mut self) {
        if let Some(database) = self.0.take()
            && database.is_reusable()
            && !std::thread::panicking()
        {
            LEFT.lock().expect("no test panics here").push(database);
        }
    }
}

/// An installed schema without rows.
pub async fn lend() -> Lent {
    let left = LEFT.lock().expect("no test panics here").pop();
    let Some(database) = left else {
        return Lent(Some(TestDatabase::fresh().await));
    };
    let mut session = Session::new(database.connect().await);
    for statement in EMPTY {
        session.run(statement).await.expect("an emptied schema");
    }
    Lent(Some(database))
}
