//! Data that nobody here has made: the time zones of this machine, changed across two deployments.

mod rollout_support;
mod support;

use std::path::Path;

use lockkeeper::load::exact_columns;
use lockkeeper::server::Server;
use rollout_support::Fleet;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use support::run;

const ZONES: &str = "/usr/share/zoneinfo";

/// As the server's own schema has them: keys of one column and of two, numeric and text.
const TABLES: [(&str, &str); 4] = [
    (
        "time_zone",
        "(Time_zone_id INT UNSIGNED NOT NULL AUTO_INCREMENT, Use_leap_seconds ENUM('Y','N') DEFAULT 'N' NOT NULL,
          PRIMARY KEY (Time_zone_id))",
    ),
    (
        "time_zone_name",
        "(Name CHAR(64) NOT NULL, Time_zone_id INT UNSIGNED NOT NULL, PRIMARY KEY (Name))",
    ),
    (
        "time_zone_transition",
        "(Time_zone_id INT UNSIGNED NOT NULL, Transition_time BIGINT NOT NULL, Transition_type_id INT UNSIGNED NOT NULL,
          PRIMARY KEY (Time_zone_id, Transition_time))",
    ),
    (
        "time_zone_transition_type",
        "(Time_zone_id INT UNSIGNED NOT NULL, Transition_type_id INT UNSIGNED NOT NULL, `Offset` INT DEFAULT 0 NOT NULL,
          Is_DST TINYINT UNSIGNED DEFAULT 0 NOT NULL, Abbreviation CHAR(8) DEFAULT '' NOT NULL,
          PRIMARY KEY (Time_zone_id, Transition_type_id))",
    ),
];

const CHANGES: [(&str, &str); 3] = [
    (
        "time_zone_name",
        "MODIFY Time_zone_id BIGINT UNSIGNED NOT NULL, ADD UNIQUE KEY by_zone (Time_zone_id, Name)",
    ),
    (
        "time_zone_transition",
        "MODIFY Transition_type_id BIGINT NOT NULL, ADD COLUMN checked_at DATETIME(6) NULL, ADD KEY by_moment (Transition_time)",
    ),
    (
        "time_zone_transition_type",
        "MODIFY Abbreviation VARCHAR(16) NOT NULL DEFAULT '?', ADD KEY by_abbreviation (Abbreviation)",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_systems_time_zones_change_across_two_deployments_as_the_server_itself_would_change_them()
 {
    let mut fleet = Fleet::of(2).await;
    let fill = zones(&fleet.servers[0]);
    for server in &fleet.servers {
        let mut session = server.administrator().connect().await.expect("a session");
        prepare(&mut session, &fill).await;
    }

    let statements: Vec<String> = CHANGES
        .iter()
        .map(|(table, change)| format!("ALTER TABLE {table} {change}"))
        .collect();
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    let options = serde_json::json!({"cutover_policy": "barrier"});
    let apply = fleet.submit("zones", &statements, options).await;
    let drivers = ["first", "second"].map(|name| fleet.start_driver(name));
    fleet
        .until("both are completed", apply, |states| {
            states.iter().all(|state| *state == "completed")
        })
        .await;
    for driver in drivers {
        driver.end().await;
    }

    for server in &fleet.servers {
        let mut session = server.administrator().connect().await.expect("a session");
        for (table, change) in CHANGES {
            run(
                &mut session,
                &format!("ALTER TABLE reference.{table} {change}"),
            )
            .await;
        }
        for (table, _) in TABLES {
            compare(&mut session, table).await;
        }
    }
}

/// The statements that fill the tables, from the program that comes with the server.
fn zones(server: &Server) -> String {
    assert!(
        Path::new(ZONES).is_dir(),
        "this machine has no time zones in {ZONES}; install them (Debian, Ubuntu: apt-get install tzdata)"
    );
    let tool = server
        .program()
        .and_then(|program| program.tool("mysql_tzinfo_to_sql"));
    let mut tool =
        tool.expect("mysql_tzinfo_to_sql beside mysqld; install the server's whole package");
    let output = tool.arg(ZONES).output().expect("mysql_tzinfo_to_sql");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// Filled, and a copy of it for the server's own change.
async fn prepare(session: &mut MySqlConnection, fill: &str) {
    run(session, "CREATE DATABASE reference").await;
    run(session, "CREATE DATABASE zones").await;
    run(session, "USE zones").await;
    for (table, columns) in TABLES {
        run(session, &format!("CREATE TABLE {table} {columns}")).await;
    }
    run(session, fill).await;
    for (table, _) in TABLES {
        run(
            session,
            &format!("CREATE TABLE reference.{table} LIKE zones.{table}"),
        )
        .await;
        run(
            session,
            &format!("INSERT INTO reference.{table} SELECT * FROM zones.{table}"),
        )
        .await;
    }
    let rows = count(session, "SELECT COUNT(*) FROM time_zone_transition").await;
    assert!(
        rows > 50_000,
        "{ZONES} gave {rows} transitions only; is it complete?"
    );
}

/// Row by row, in every byte, and in its definition.
async fn compare(session: &mut MySqlConnection, table: &str) {
    let definition = async |session: &mut MySqlConnection, schema: &str| {
        let query = format!("SHOW CREATE TABLE {schema}.{table}");
        let row = session
            .fetch_one(AssertSqlSafe(query))
            .await
            .expect("a definition");
        row.get::<String, _>(1)
    };
    let (changed, reference) = (
        definition(session, "zones").await,
        definition(session, "reference").await,
    );
    assert_eq!(changed, reference);

    let names: Vec<String> = sqlx::query_scalar(
        "SELECT CAST(c.COLUMN_NAME AS CHAR) FROM information_schema.COLUMNS AS c
          WHERE c.TABLE_SCHEMA = 'reference' AND c.TABLE_NAME = ?",
    )
    .bind(table)
    .fetch_all(&mut *session)
    .await
    .expect("columns");
    let columns = exact_columns(session, "reference", table, &names)
        .await
        .expect("columns");
    let list = names
        .iter()
        .map(|name| format!("b.`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    let differing = count(
        session,
        &format!(
            "SELECT COUNT(*) FROM (
                 SELECT {list} FROM (SELECT 1 AS side, {columns} FROM zones.{table} AS t
                                      UNION ALL
                                     SELECT 2 AS side, {columns} FROM reference.{table} AS t) AS b
                  GROUP BY {list} HAVING SUM(b.side = 1) <> SUM(b.side = 2)) AS d"
        ),
    )
    .await;
    assert_eq!(differing, 0, "rows of {table} differ");
    let left = count(
        session,
        "SELECT COUNT(*) FROM information_schema.TABLES AS t
          WHERE t.TABLE_SCHEMA = 'zones' AND t.TABLE_NAME LIKE '\\_lk\\_%' AND t.TABLE_NAME NOT REGEXP '_(fence|drop[0-9]+_[0-9]{14})$'",
    )
    .await;
    assert_eq!(left, 0, "tables of the change are left behind");
}

async fn count(session: &mut MySqlConnection, query: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
        .fetch_one(session)
        .await
        .unwrap_or_else(|error| panic!("{query}: {error}"))
}
