//! Parents, a child that is changed, and its twin: the same rows and keys, which nobody but the
//! application and the server touches. Whatever the server's cascades do to one, they do to both.

#![allow(dead_code)] // each test binary uses its own part

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlx::mysql::{MySqlConnection, MySqlDatabaseError};
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::task::JoinHandle;

use crate::deployment::Deployment;
use crate::support;

/// The indexes of `p` and `q` are the server's own, that of `r` is not; `r` restricts.
const CHILD: &str = "(id BIGINT PRIMARY KEY, p INT NULL, q INT NULL, r INT NULL, note VARCHAR(40) NULL, \
    KEY by_r (r, id), \
    FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE, \
    CONSTRAINT {name} FOREIGN KEY (q) REFERENCES parent (u) ON DELETE SET NULL ON UPDATE CASCADE, \
    FOREIGN KEY (r) REFERENCES parent (id))";

/// Rows that no writer knows, under parents from -1 down.
const OLD_ROWS: i64 = 4_000;

pub async fn create(db: &mut Deployment) {
    let (child, twin) = (
        CHILD.replace("{name}", "child_to_u"),
        CHILD.replace("{name}", "twin_to_u"),
    );
    db.run(&format!(
        "CREATE TABLE parent (id INT PRIMARY KEY, u INT NOT NULL UNIQUE); \
         CREATE TABLE child {child}; CREATE TABLE twin {twin}; \
         SET SESSION cte_max_recursion_depth = 1000000; \
         INSERT INTO parent WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 500) \
         SELECT -i, -i FROM n; \
         INSERT INTO child WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {OLD_ROWS}) \
         SELECT -i, -(i % 500) - 1, -(i * 7 % 500) - 1, NULL, CONCAT('old ', i) FROM n; \
         INSERT INTO twin SELECT * FROM child"
    ))
    .await;
}

/// All foreign keys of the schema, by table.
pub async fn all_keys(db: &mut Deployment) -> String {
    db.text(
        "SELECT GROUP_CONCAT(TABLE_NAME, '.', CONSTRAINT_NAME ORDER BY TABLE_NAME, CONSTRAINT_NAME) \
           FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = DATABASE()",
    )
    .await
}

/// The keys of the child, as the server shows them.
pub async fn keys(db: &mut Deployment) -> Vec<String> {
    keys_of(db, "child").await
}

pub async fn keys_of(db: &mut Deployment, table: &str) -> Vec<String> {
    use sqlx::Row as _;
    let row = db
        .root
        .fetch_one(AssertSqlSafe(format!("SHOW CREATE TABLE `{table}`")))
        .await
        .expect("the table");
    let text: String = row.try_get_unchecked(1).expect("its text");
    let lines = text.lines().map(|line| line.trim().trim_end_matches(','));
    let mut keys: Vec<String> = lines
        .filter(|line| line.starts_with("KEY") || line.starts_with("CONSTRAINT"))
        .map(str::to_owned)
        .collect();
    keys.sort();
    keys
}

/// Every row of the child is in its twin, and none is missing.
pub async fn compare(db: &mut Deployment) {
    let counts = db
        .text("SELECT CONCAT((SELECT COUNT(*) FROM child) = (SELECT COUNT(*) FROM twin), ' ', (SELECT COUNT(*) > 100 FROM child))")
        .await;
    assert_eq!(counts, "1 1", "the numbers of rows differ");
    let different = db
        .text(
            "SELECT GROUP_CONCAT(CONCAT_WS('/', t.id, c.id, t.p, c.p, t.q, c.q, t.r, c.r, t.note, c.note) SEPARATOR '; ') \
               FROM twin AS t LEFT JOIN child AS c ON c.id = t.id \
              WHERE NOT (c.id <=> t.id AND c.p <=> t.p AND c.q <=> t.q AND c.r <=> t.r AND c.note <=> t.note)",
        )
        .await;
    assert_eq!(different, "NULL", "rows differ");
}

/// The server checks each of the child's keys, and does what it says.
pub async fn is_enforced(db: &mut Deployment) {
    for column in ["p", "q", "r"] {
        let bad = format!("INSERT INTO child (id, {column}) VALUES (900, 900)");
        assert_eq!(number(db.root.execute(AssertSqlSafe(bad)).await), 1452);
    }
    db.run(
        "INSERT INTO parent VALUES (901, 901), (902, 902), (903, 903); \
         INSERT INTO child (id, p, q, r) VALUES (901, 901, 902, NULL), (902, NULL, 902, NULL), (903, NULL, NULL, 903); \
         DELETE FROM parent WHERE id = 901; UPDATE parent SET u = 904 WHERE id = 902",
    )
    .await;
    let restricted = db.root.execute("DELETE FROM parent WHERE id = 903").await;
    assert_eq!(number(restricted), 1451);
    let moved = "SELECT GROUP_CONCAT(id, ':', IFNULL(q, '-') ORDER BY id) FROM child WHERE id BETWEEN 901 AND 903";
    assert_eq!(db.text(moved).await, "902:904,903:-");
    db.run("DELETE FROM parent WHERE id = 902; DELETE FROM child WHERE id IN (902, 903); DELETE FROM parent WHERE id = 903")
        .await;
}

/// The server's number of an error.
pub fn number<T: std::fmt::Debug>(answer: Result<T, sqlx::Error>) -> u16 {
    match answer {
        Err(sqlx::Error::Database(error)) => error.downcast_ref::<MySqlDatabaseError>().number(),
        other => panic!("{other:?}"),
    }
}

/// Applications that change parents and children. Anything but a deadlock or a lock's time-out that the
/// server answers with is a failure: above all a delete that a key of no table in use refuses.
pub struct Families {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<u64>>,
}

impl Families {
    pub async fn start(db: &Deployment, number: i64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        let seed = support::seed();
        for worker in 0..number {
            let mut connection = db.settings.connect().await.expect("a session");
            let schema = format!("USE `{}`", db.schema);
            connection
                .execute(AssertSqlSafe(schema))
                .await
                .expect("the schema");
            let mut application = Application {
                connection,
                random: StdRng::seed_from_u64(seed.wrapping_add(worker as u64)),
                next: 1_000 + worker * 10_000_000,
                parents: Vec::new(),
                children: Vec::new(),
                deadlocks: 0,
            };
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    application.work().await;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                application.deadlocks
            }));
        }
        Self { stop, count, tasks }
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// How many deadlocks there were.
    pub async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut deadlocks = 0;
        for task in self.tasks {
            deadlocks += task.await.expect("an application without errors");
        }
        deadlocks
    }
}

struct Application {
    connection: MySqlConnection,
    random: StdRng,
    next: i64,
    /// Of its own, with no child that restricts.
    parents: Vec<i64>,
    children: Vec<i64>,
    deadlocks: u64,
}

impl Application {
    async fn work(&mut self) {
        let choice = self.random.random_range(0..20);
        let new = self.number();
        if self.parents.len() < 5 || choice < 3 {
            if self
                .run(&format!("INSERT INTO parent VALUES ({new}, {new})"))
                .await
            {
                self.parents.push(new);
            }
            return;
        }
        let (one, other) = (self.parent(), self.parent());
        match choice {
            3..=9 => {
                let row = format!("VALUES ({new}, {one}, {other}, NULL, 'new {new}')");
                let both = format!("INSERT INTO child {row}; INSERT INTO twin {row}");
                if self.run(&both).await {
                    self.children.push(new);
                }
            }
            10 | 11 => {
                let old = self.random.random_range(1..=OLD_ROWS);
                let id = match self.children.last() {
                    Some(last) if choice == 10 => *last,
                    _ => -old,
                };
                let set = format!("SET p = {one}, note = 'moved {new}' WHERE id = {id}");
                self.run(&format!("UPDATE child {set}; UPDATE twin {set}"))
                    .await;
            }
            12 => {
                if let Some(id) = self.children.pop() {
                    let row = format!("WHERE id = {id}");
                    self.run(&format!("DELETE FROM child {row}; DELETE FROM twin {row}"))
                        .await;
                }
            }
            13 | 14 => {
                if self
                    .run(&format!("DELETE FROM parent WHERE id = {one}"))
                    .await
                {
                    self.parents.retain(|parent| *parent != one);
                }
            }
            15 => {
                let old = self.random.random_range(1..=500);
                self.run(&format!("DELETE FROM parent WHERE id = -{old}"))
                    .await;
            }
            16 | 17 => {
                let keys = format!("UPDATE parent SET id = {new}, u = {new} WHERE id = {one}");
                if self.run(&keys).await {
                    self.parents.retain(|parent| *parent != one);
                    self.parents.push(new);
                }
            }
            _ => self.restricted(new).await,
        }
    }

    /// A parent that may go as soon as its children have gone, and not before.
    async fn restricted(&mut self, id: i64) {
        let row = format!("VALUES ({id}, NULL, NULL, {id}, 'restricts')");
        let steps = [
            format!("INSERT INTO parent VALUES ({id}, {id})"),
            format!("INSERT INTO child {row}; INSERT INTO twin {row}"),
            format!("DELETE FROM child WHERE r = {id}; DELETE FROM twin WHERE r = {id}"),
            format!("DELETE FROM parent WHERE id = {id}"),
        ];
        for step in steps {
            while !self.run(&step).await {}
        }
    }

    /// One transaction; false if the server asks to try it again.
    async fn run(&mut self, statements: &str) -> bool {
        let transaction = format!("BEGIN; {statements}; COMMIT");
        let Err(error) = self.connection.execute(AssertSqlSafe(transaction)).await else {
            return true;
        };
        let text = format!("{statements}: {error}");
        match number::<()>(Err(error)) {
            1205 | 1213 => {
                self.deadlocks += 1;
                self.connection
                    .execute("ROLLBACK")
                    .await
                    .expect("a rollback");
                false
            }
            _ => panic!("{text}"),
        }
    }

    fn number(&mut self) -> i64 {
        self.next += 1;
        self.next
    }

    fn parent(&mut self) -> i64 {
        self.parents[self.random.random_range(0..self.parents.len())]
    }
}
