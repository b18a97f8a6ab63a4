//! The tables that are changed, and how their rows are made: always the same ones.

use sha2::{Digest as _, Sha256};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::task::JoinSet;

use super::Bench;
use crate::bench::BenchError;

/// The table that is changed; one in each schema.
pub(super) const CHANGED: &str = "t";
/// The same rows, never changed: what a table is made from, and compared with.
pub(super) const SOURCE: &str = "source";
/// A chunk of the floor. Large enough that commits don't count, small enough for both threads to have work.
const CHUNK_ROWS: u64 = 25_000;
/// Threads of the floor: as many as the engine has by default.
const THREADS: u64 = 2;

/// Three shapes that cost differently; see the variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// As sysbench's: an integer key, 190 bytes a row, one secondary index
    #[value(name = "A")]
    A,
    /// Six secondary indexes
    #[value(name = "B")]
    B,
    /// A random BINARY(16) key, two secondary indexes
    #[value(name = "C")]
    C,
}

/// What a shape comes to in SQL.
pub(super) struct Text {
    pub columns: &'static str,
    /// What follows ALTER TABLE.
    pub indexes: &'static str,
    /// The row of number `i`, without the key where it is the number itself.
    row: &'static str,
    /// The column that the load counts in; the change widens it.
    pub counter: &'static str,
    pub widen: &'static str,
    /// Takes `widen` back.
    pub narrow: &'static str,
}

impl Shape {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
        }
    }

    pub(super) fn text(self) -> Text {
        match self {
            Self::A => Text {
                columns: "id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, k INT NOT NULL DEFAULT 0, c CHAR(120) NOT NULL DEFAULT '', \
                          pad CHAR(60) NOT NULL DEFAULT ''",
                indexes: "ADD KEY k_1 (k)",
                row: "i, FLOOR(RAND(i) * 1000000), LEFT(SHA2(i, 512), 110), LEFT(SHA2(i, 256), 55)",
                counter: "k",
                widen: "MODIFY k BIGINT NOT NULL DEFAULT 0",
                narrow: "MODIFY k INT NOT NULL DEFAULT 0",
            },
            Self::B => Text {
                columns: "id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, a INT, b INT, c INT, d VARCHAR(40), e VARCHAR(40), f DATETIME",
                indexes: "ADD KEY a (a), ADD KEY b (b), ADD KEY c (c), ADD KEY d (d), ADD KEY e (e), ADD KEY f (f, a)",
                row: "i, FLOOR(RAND(i) * 1000000), i % 1000, FLOOR(RAND(i + 7) * 100), LEFT(SHA2(i, 256), 30), \
                      LEFT(SHA2(i + 1, 256), 30), '2024-01-01' + INTERVAL i SECOND",
                counter: "a",
                widen: "MODIFY a BIGINT",
                narrow: "MODIFY a INT",
            },
            Self::C => Text {
                columns: "id BINARY(16) NOT NULL PRIMARY KEY, a INT, b VARCHAR(40)",
                indexes: "ADD KEY a (a), ADD KEY b (b)",
                row: "UNHEX(LEFT(SHA2(i, 256), 32)), i, LEFT(SHA2(i + 1, 256), 30)",
                counter: "a",
                widen: "MODIFY a BIGINT",
                narrow: "MODIFY a INT",
            },
        }
    }

    /// The key of row `number` (1-based) as a literal.
    pub(super) fn key(self, number: u64) -> String {
        match self {
            Self::A | Self::B => number.to_string(),
            Self::C => {
                let sum = Sha256::digest(number.to_string());
                format!("0x{}", hex::encode(&sum[..16]))
            }
        }
    }

    /// Conditions that cut the table into chunks of about the same size.
    fn chunks(self, rows: u64) -> Vec<String> {
        let count = rows.div_ceil(CHUNK_ROWS).max(THREADS);
        let bound = |at: u64| match self {
            Self::A | Self::B => (rows * at / count).to_string(),
            Self::C => format!("0x{:08x}{:024x}", (at << 32) / count, 0),
        };
        (0..count)
            .map(|at| match at + 1 == count {
                true => format!("id > {}", bound(at)),
                false => format!("id > {} AND id <= {}", bound(at), bound(at + 1)),
            })
            .collect()
    }
}

/// Stores the rows of which all tables of this shape are made.
pub(super) async fn make_source(
    session: &mut MySqlConnection,
    shape: Shape,
    rows: u64,
) -> Result<(), sqlx::Error> {
    const BLOCK: u64 = 100_000;
    let text = shape.text();
    run(
        session,
        "SET sql_log_bin = 0; SET SESSION cte_max_recursion_depth = 1000000",
    )
    .await?;
    run(
        session,
        &format!("CREATE TABLE {SOURCE} ({})", text.columns),
    )
    .await?;
    for from in (1..=rows).step_by(BLOCK as usize) {
        let to = rows.min(from + BLOCK - 1);
        let insert = format!(
            "INSERT INTO {SOURCE} WITH RECURSIVE n (i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {to}) \
             SELECT {} FROM n",
            text.row
        );
        run(session, &insert).await?;
    }
    run(session, &format!("ANALYZE TABLE {SOURCE}")).await
}

/// A table as it was before any change. Not in the binlog: it is no part of what is measured.
pub(super) async fn make_changed(bench: &Bench, shape: Shape, rows: u64) -> Result<(), BenchError> {
    let mut session = bench.session().await?;
    let columns = shape.text().columns;
    run(
        &mut session,
        &format!("SET sql_log_bin = 0; DROP TABLE IF EXISTS {CHANGED}; CREATE TABLE {CHANGED} ({columns})"),
    )
    .await?;
    copy_in_chunks(bench, shape, rows, SOURCE, CHANGED, false).await?;
    run(
        &mut session,
        &format!(
            "ALTER TABLE {CHANGED} {}; ANALYZE TABLE {CHANGED}",
            shape.text().indexes
        ),
    )
    .await?;
    Ok(())
}

/// The floor: the least that a copy through SQL can cost. Nobody's writes are followed, nothing is compared.
pub(super) async fn floor(bench: &Bench, shape: Shape, rows: u64) -> Result<(), BenchError> {
    let mut session = bench.session().await?;
    let text = shape.text();
    run(
        &mut session,
        &format!(
            "CREATE TABLE copy_of_t ({}); ALTER TABLE copy_of_t {}",
            text.columns, text.widen
        ),
    )
    .await?;
    copy_in_chunks(bench, shape, rows, CHANGED, "copy_of_t", true).await?;
    run(
        &mut session,
        &format!("ALTER TABLE copy_of_t {}", text.indexes),
    )
    .await?;
    Ok(())
}

async fn copy_in_chunks(
    bench: &Bench,
    shape: Shape,
    rows: u64,
    from: &'static str,
    to: &'static str,
    log: bool,
) -> Result<(), BenchError> {
    let chunks = shape.chunks(rows);
    let mut threads = JoinSet::new();
    for thread in 0..THREADS {
        let mut session = bench.session().await?;
        let chunks: Vec<String> = chunks
            .iter()
            .skip(thread as usize)
            .step_by(THREADS as usize)
            .cloned()
            .collect();
        threads.spawn(async move {
            // Under READ COMMITTED the source's rows are not locked.
            let log = u8::from(log);
            run(
                &mut session,
                &format!("SET sql_log_bin = {log}; SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"),
            )
            .await?;
            for chunk in chunks {
                let insert = format!("INSERT INTO {to} SELECT * FROM {from} WHERE {chunk}");
                run(&mut session, &insert).await?;
            }
            Ok::<_, sqlx::Error>(())
        });
    }
    while let Some(ended) = threads.join_next().await {
        ended??;
    }
    Ok(())
}

/// Statements as text.
pub(super) async fn run(session: &mut MySqlConnection, sql: &str) -> Result<(), sqlx::Error> {
    session.execute(AssertSqlSafe(sql.to_owned())).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Shape;

    #[test]
    fn chunks_follow_each_other_from_the_first_key_to_the_end() {
        assert_eq!(
            Shape::A.chunks(60_000),
            [
                "id > 0 AND id <= 20000",
                "id > 20000 AND id <= 40000",
                "id > 40000"
            ]
        );
        let zeros = "0".repeat(24);
        assert_eq!(
            Shape::C.chunks(2),
            [
                format!("id > 0x00000000{zeros} AND id <= 0x80000000{zeros}"),
                format!("id > 0x80000000{zeros}")
            ]
        );
    }
}
