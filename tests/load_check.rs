//! The independent check finds nothing where nothing is wrong, and every fault that is seeded.

mod support;

use lockkeeper::config::ConnectionSettings;
use lockkeeper::load::{self, Before, Change, Checked, Record, Traffic};
use sqlx::{AssertSqlSafe, Executor as _, MySqlConnection};
use support::{PATIENCE, eventually};

const ROWS: u64 = 2000;

/// A schema with a filled table.
struct Shop {
    settings: ConnectionSettings,
    session: MySqlConnection,
    before: Before,
}

impl Shop {
    async fn open() -> Self {
        let server = support::server().await;
        let schema = format!("shop_{:016x}", rand::random::<u64>());
        let settings = server.administrator().clone().with_schema(&schema);
        let mut session = settings
            .clone()
            .without_schema()
            .connect()
            .await
            .expect("a session");
        session
            .execute(AssertSqlSafe(format!(
                "CREATE DATABASE {schema}; USE {schema}"
            )))
            .await
            .expect("a schema");
        session
            .execute(load::create_table())
            .await
            .expect("a table");
        load::fill(&mut session, ROWS).await.expect("rows");
        let before = Before::take(&mut session, &schema).await.expect("a digest");
        assert_eq!(before.rows(), ROWS as i64);
        Self {
            settings,
            session,
            before,
        }
    }

    /// Lets writers make so many writes; the server itself makes the change in the middle of them.
    async fn change_under_load(&mut self, change: &Change) -> Record {
        let traffic = Traffic {
            settings: self.settings.clone(),
            rows: ROWS,
            writers: 4,
            writes_per_second: 2000,
            seed: support::seed(),
        };
        let running = traffic.start().await.expect("writers");
        let counters = running.counters().clone();
        let acknowledged = || {
            counters
                .acknowledged
                .load(std::sync::atomic::Ordering::Relaxed)
        };
        eventually("some writes", PATIENCE, || async { acknowledged() > 300 }).await;
        self.run(change.statement).await;
        let so_far = acknowledged();
        eventually("more writes", PATIENCE, || async {
            acknowledged() > so_far + 300
        })
        .await;
        running.stop().await.expect("a record")
    }

    async fn check(&mut self, change: &Change, record: &Record) -> Checked {
        load::check(&mut self.session, change, &self.before, record)
            .await
            .expect("a check")
    }

    async fn run(&mut self, statement: &str) -> u64 {
        self.session
            .execute(AssertSqlSafe(statement.to_owned()))
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"))
            .rows_affected()
    }
}

#[tokio::test]
async fn every_acknowledged_write_is_found_in_a_table_that_the_server_itself_has_changed() {
    let mut shop = Shop::open().await;
    let change = load::widen_orders();
    let record = shop.change_under_load(&change).await;
    let checked = shop.check(&change, &record).await;
    assert!(checked.findings.is_empty(), "{:#?}", checked.findings);
    assert!(checked.keys > 300 && checked.writes > 600 && checked.untouched > 1000);
    assert!(record.samples.len() as u64 >= checked.writes);
}

#[tokio::test]
async fn every_seeded_fault_is_found() {
    let mut shop = Shop::open().await;
    let change = load::widen_orders();
    let record = shop.change_under_load(&change).await;
    assert!(shop.check(&change, &record).await.findings.is_empty());

    let keys = record.journal.keys();
    let written = |is_there: bool| {
        *keys
            .iter()
            .find(|key| {
                let entry = record.journal.entry(**key).expect("an entry");
                entry.writes > 0 && entry.expected.is_some() == is_there
            })
            .expect("such a key")
    };
    let (present, deleted) = (written(true), written(false));
    let untouched: Vec<u64> = (1..=ROWS)
        .map(|block| block * 10)
        .filter(|key| record.journal.entry(*key).is_none())
        .collect();
    // Rows of the fill with a number of each JSON type, and with a weight.
    let with = |rest: u64| {
        *untouched
            .iter()
            .find(|key| *key / 10 % 5 == rest && *key / 10 % 7 != 0)
            .expect("such a row")
    };
    let (integer, any) = (with(3), with(1));
    for fault in [
        // A write that was lost: the row is what it was before.
        format!("UPDATE orders SET quantity = quantity - 1 WHERE order_id = {present}"),
        format!("UPDATE orders SET customer = CONCAT(customer, ' ') WHERE order_id = {present}"),
        format!("DELETE FROM orders WHERE order_id = {present}"),
        // A row that came back.
        format!("INSERT INTO orders (order_id, reference, customer, quantity, amount, placed_at) VALUES ({deleted}, 'ghost', '', 0, 0, NOW())"),
        // Rows that nobody wrote.
        format!("DELETE FROM orders WHERE order_id = {any}"),
        "INSERT INTO orders (order_id, reference, customer, quantity, amount, placed_at) VALUES (99999999, 'ghost', '', 0, 0, NOW())".to_owned(),
        format!("UPDATE orders SET note = CONCAT(COALESCE(note, ''), ' ') WHERE order_id = {any}"),
        format!("UPDATE orders SET weight = weight + 1e-12 WHERE order_id = {any}"),
        // To the server 1 and 1.0 are equal, so that one update from the one to the other would change nothing.
        format!(
            "UPDATE orders SET details = NULL WHERE order_id = {integer};
             UPDATE orders SET details = '[{0}, {0}, \"\", {{}}]' WHERE order_id = {integer}",
            integer / 10
        ),
        format!("UPDATE orders SET placed_at = placed_at + INTERVAL 1 MICROSECOND WHERE order_id = {any}"),
        format!("UPDATE orders SET email = IF(email IS NULL, '', NULL) WHERE order_id = {any}"),
        format!("UPDATE orders SET fingerprint = COALESCE(INSERT(fingerprint, 16, 1, 0x01), 0x00) WHERE order_id = {any}"),
        "UPDATE orders SET channel = 'WEB' LIMIT 1".to_owned(),
        "ALTER TABLE orders DROP INDEX orders_by_state".to_owned(),
        "ALTER TABLE orders DROP INDEX orders_reference".to_owned(),
        "ALTER TABLE orders MODIFY quantity INT NOT NULL".to_owned(),
        "CREATE TABLE _lk_00000000_1_1_0_new (id INT PRIMARY KEY)".to_owned(),
    ] {
        shop.run("DROP TABLE IF EXISTS aside").await;
        shop.run("CREATE TABLE aside LIKE orders").await;
        shop.run("INSERT INTO aside SELECT * FROM orders").await;
        shop.run(&fault).await;
        shop.run("RENAME TABLE aside TO _lk_00000000_1_drop0_20260101000000").await;

        let checked = shop.check(&change, &record).await;
        assert!(!checked.findings.is_empty(), "not found: {fault}");

        shop.run("DROP TABLE orders").await;
        shop.run("RENAME TABLE _lk_00000000_1_drop0_20260101000000 TO orders").await;
        shop.run("DROP TABLE IF EXISTS _lk_00000000_1_1_0_new").await;
        let checked = shop.check(&change, &record).await;
        assert!(checked.findings.is_empty(), "{:#?}", checked.findings);
    }
}
