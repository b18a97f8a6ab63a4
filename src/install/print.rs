//! The installation as plain SQL, for a DBA to read and to run with the mysql client alone.

use std::fmt::Write as _;

use super::database::{
    create_schema_statement, lock_name, of_somebody_else, session_settings, text_literal,
};
use super::error::InstallError;
use super::migrate::{HISTORY_TABLE, migrations};
use super::objects::record_statement;
use super::privileges::{create_role_statement, grant_statements, record_grants_statement};
use super::set::{Kind, UNLOCK_STATEMENT, objects};
use super::version::{API_VERSION, PROGRAM_VERSION};
use crate::engine::syntax::quote;

/// What `install` would run on an empty server. Running it again, or on an older schema, is fine.
pub fn print(schema: &str) -> Result<String, InstallError> {
    let mut text = String::new();
    let out = &mut text;
    let add = |out: &mut String, statement: &str| writeln!(out, "{statement};").expect("text");

    writeln!(
        out,
        "-- Lockkeeper {PROGRAM_VERSION}, API version {API_VERSION}, for schema {schema}.\n\
         -- Run it with the mysql client, which stops at the first error and may simply be run again:\n\
         --   mysql --comments < this-file        (--comments keeps the comments of the routines)\n"
    )
    .expect("text");
    add(out, &session_settings());
    add(
        out,
        &format!(
            "SELECT GET_LOCK({}, 300) AS got_lock",
            text_literal(&lock_name(schema))
        ),
    );
    add(out, &create_schema_statement(schema));
    add(out, &format!("USE {}", quote(schema)));
    out.push_str(&guard(schema)?);

    writeln!(out, "\n-- Tables.").expect("text");
    add(
        out,
        &format!(
            "CREATE TABLE IF NOT EXISTS {HISTORY_TABLE}(\n             version INT4 PRIMARY KEY,\n             \
             name VARCHAR(255),\n             applied_on VARCHAR(255),\n             checksum VARCHAR(255))"
        ),
    );
    for migration in migrations()? {
        out.push('\n');
        add(out, migration.sql().unwrap_or_default());
        add(
            out,
            &format!(
                "INSERT IGNORE INTO {HISTORY_TABLE} (version, name, applied_on, checksum)\n\
                 VALUES ({}, '{}', DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%dT%H:%i:%s.%fZ'), '{}')",
                migration.version(),
                migration.name(),
                migration.checksum()
            ),
        );
    }

    writeln!(
        out,
        "\n-- Routines, views, triggers, and rows that are code."
    )
    .expect("text");
    for kind in Kind::ALL {
        let mut created = Vec::new();
        for object in objects()?.iter().filter(|object| object.kind == kind) {
            out.push('\n');
            let lock = object.lock_statement();
            for statement in lock.iter().chain(object.drop_statement().iter()) {
                add(out, statement);
            }
            match kind {
                Kind::Function | Kind::Procedure | Kind::Trigger => {
                    writeln!(out, "DELIMITER $$\n{}$$\nDELIMITER ;", object.statement())
                        .expect("text");
                }
                Kind::View | Kind::Data => add(out, object.statement()),
            }
            if lock.is_some() {
                add(out, UNLOCK_STATEMENT);
            }
            created.push((object.name, object.sha256()));
        }
        if !created.is_empty() {
            out.push('\n');
            add(out, &record_statement(kind, &created));
        }
    }

    writeln!(
        out,
        "\n-- Roles: grant them to accounts with GRANT role TO account."
    )
    .expect("text");
    add(out, &create_role_statement(schema));
    for statement in grant_statements(schema)? {
        add(out, &statement);
    }
    add(out, &record_grants_statement());

    writeln!(
        out,
        "\n-- What an earlier version had and this one has not: run each line that is shown.\n\
         SELECT CONCAT('DROP ', UPPER(o.kind), ' IF EXISTS ', o.object_name, ';') AS run_this\n  \
         FROM installed_object AS o\n WHERE o.version <> '{PROGRAM_VERSION}' AND o.kind <> '{}';\n\
         DELETE FROM installed_object WHERE version <> '{PROGRAM_VERSION}';",
        Kind::Data
    )
    .expect("text");
    add(
        out,
        &format!(
            "SELECT RELEASE_LOCK({}) AS released_lock",
            text_literal(&lock_name(schema))
        ),
    );
    Ok(text)
}

/// Refuses, before anything is changed, where somebody else installs or a newer program has installed.
fn guard(schema: &str) -> Result<String, InstallError> {
    let known = migrations()?.last().map_or(0, |last| last.version());
    let lock = text_literal(&lock_name(schema));
    let foreign = of_somebody_else(&text_literal(schema));
    let numbers = |of: &dyn Fn(u8) -> String| (1..=3).map(of).collect::<Vec<_>>().join(", ");
    let installed =
        numbers(&|nth| format!("COALESCE(REGEXP_SUBSTR(o.version, '[0-9]+', 1, {nth}), 0) + 0"));
    let ours = numbers(&|nth| {
        format!("COALESCE(REGEXP_SUBSTR('{PROGRAM_VERSION}', '[0-9]+', 1, {nth}), 0) + 0")
    });
    Ok(format!(
        "DROP PROCEDURE IF EXISTS _install_guard;
DELIMITER $$
CREATE PROCEDURE _install_guard ()
BEGIN
    DECLARE v_applied INT DEFAULT 0;
    DECLARE v_newer   INT DEFAULT 0;
    DECLARE v_foreign INT DEFAULT 0;

    IF (IS_USED_LOCK({lock}) = CONNECTION_ID()) IS NOT TRUE THEN
        SIGNAL SQLSTATE '45000'
            SET MYSQL_ERRNO = 50402, MESSAGE_TEXT = 'another installation is running; wait for it and run this again';
    END IF;

    SELECT COUNT(*) INTO v_foreign
      {foreign};
    IF v_foreign > 0 THEN
        SIGNAL SQLSTATE '45000'
            SET MYSQL_ERRNO = 50404, MESSAGE_TEXT = 'the schema holds tables that are not Lockkeeper''s; print for a schema of its own';
    END IF;

    BEGIN
        -- No history yet: nothing is installed.
        DECLARE CONTINUE HANDLER FOR 1146 BEGIN END;
        SELECT MAX(h.version) INTO v_applied FROM {HISTORY_TABLE} AS h;
        SELECT COUNT(*) INTO v_newer
          FROM installed_object AS o
         WHERE o.api_version > {API_VERSION}
            OR ({installed})
             > ({ours});
    END;
    IF v_applied > {known} OR v_newer > 0 THEN
        SIGNAL SQLSTATE '45000'
            SET MYSQL_ERRNO = 50403, MESSAGE_TEXT = 'a newer lockkeeper has installed this schema; print with a newer lockkeeper';
    END IF;
END$$
DELIMITER ;
CALL _install_guard();
DROP PROCEDURE _install_guard;
"
    ))
}
