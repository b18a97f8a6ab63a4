//! SPEC.md sections 10 and 11: what the schema itself must be.

use crate::support::control::Fleet;

/// What Group Replication takes: InnoDB, a primary key everywhere, and no key that cascades.
#[tokio::test]
async fn every_table_is_fit_for_group_replication() {
    let fleet = Fleet::of(1).await;
    let mut sql = fleet.sql().await;
    let tables = "SELECT COUNT(*) FROM information_schema.tables AS t
                   WHERE t.table_schema = DATABASE() AND t.table_type = 'BASE TABLE'";
    assert!(sql.number(tables, &[]).await >= 10);
    for unfit in [
        "SELECT t.table_name FROM information_schema.tables AS t
          WHERE t.table_schema = DATABASE() AND t.table_type = 'BASE TABLE' AND t.engine <> 'InnoDB'",
        "SELECT t.table_name FROM information_schema.tables AS t
           LEFT JOIN information_schema.table_constraints AS k
             ON k.table_schema    = t.table_schema
            AND k.table_name      = t.table_name
            AND k.constraint_type = 'PRIMARY KEY'
          WHERE t.table_schema = DATABASE() AND t.table_type = 'BASE TABLE' AND k.constraint_name IS NULL",
        "SELECT r.table_name FROM information_schema.referential_constraints AS r
          WHERE r.constraint_schema = DATABASE() AND (r.delete_rule = 'CASCADE' OR r.update_rule = 'CASCADE')",
    ] {
        assert_eq!(sql.texts(unfit, &[]).await, [] as [String; 0], "{unfit}");
    }
}

/// No SQL is built from an argument, and none takes locks that a group does not know.
#[tokio::test]
async fn no_routine_prepares_a_statement_or_takes_a_named_lock() {
    let fleet = Fleet::of(1).await;
    let mut sql = fleet.sql().await;
    let routines =
        "SELECT COUNT(*) FROM information_schema.routines AS r WHERE r.routine_schema = DATABASE()";
    assert!(sql.number(routines, &[]).await > 50);
    let strange = "SELECT r.routine_name FROM information_schema.routines AS r
                    WHERE r.routine_schema = DATABASE()
                      AND REGEXP_REPLACE(r.routine_definition, '--[^\\n]*', '')
                          REGEXP '\\\\b(PREPARE|EXECUTE|GET_LOCK|LOCK[[:space:]]+TABLES)\\\\b'";
    assert_eq!(sql.texts(strange, &[]).await, [] as [String; 0]);
}

/// SPEC.md section 10: no password is stored.
#[tokio::test]
async fn no_column_is_for_a_secret() {
    let fleet = Fleet::of(1).await;
    let secret = "SELECT CONCAT(c.table_name, '.', c.column_name) FROM information_schema.columns AS c
                   WHERE c.table_schema = DATABASE() AND c.column_name REGEXP 'passw|secret|credential'";
    assert_eq!(
        fleet.sql().await.texts(secret, &[]).await,
        [] as [String; 0]
    );
}
