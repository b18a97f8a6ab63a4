//! Why there is no schema to work with.

use super::set::Kind;

/// Why a schema could not be installed, checked or used.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("{0}")]
    Connect(#[source] sqlx::Error),
    #[error("{0}")]
    Database(#[from] sqlx::Error),
    #[error(
        "another installation into schema {schema} has been running for more than {seconds} s, on connection {connection}; wait for it, or KILL {connection} and install again"
    )]
    Busy {
        schema: String,
        seconds: u32,
        connection: u64,
    },
    #[error(
        "schema {schema} has default collation {collation} and holds tables; run ALTER DATABASE `{schema}` CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci, or install into a schema of its own"
    )]
    Collation { schema: String, collation: String },
    #[error(
        "schema {schema} holds tables that are not Lockkeeper's ({table}), and it needs a schema of its own; name another one in the address, as in mysql://user@host:3306/lockkeeper"
    )]
    SchemaInUse { schema: String, table: String },
    #[error(
        "schema {schema} was installed by lockkeeper {installed}, newer than this {program}; run a newer lockkeeper"
    )]
    SchemaNewer {
        schema: String,
        installed: String,
        program: String,
    },
    #[error(
        "schema {schema} was installed by lockkeeper {installed}, older than this {program}; run `lockkeeper install`"
    )]
    SchemaOlder {
        schema: String,
        installed: String,
        program: String,
    },
    #[error(
        "schema {schema} differs from what this lockkeeper {program} installs ({detail}); run `lockkeeper install`"
    )]
    SchemaDiffers {
        schema: String,
        program: String,
        detail: String,
    },
    #[error(
        "schema {schema} was not installed to its end ({detail}); run `lockkeeper install`, which goes on from there"
    )]
    SchemaIncomplete { schema: String, detail: String },
    #[error(
        "innodb_default_row_format of {format} refused, its rows are too short for Lockkeeper's tables; SET GLOBAL innodb_default_row_format = 'dynamic', install again, and set it back"
    )]
    RowFormat { format: String },
    #[error("schema {schema} has no Lockkeeper in it; run `lockkeeper install`")]
    NotInstalled { schema: String },
    #[error("tables: {message}; nothing is lost, correct it and run `lockkeeper install` again")]
    Migration { message: String },
    #[error(
        "the tables were made by an unreleased build that this one can't follow ({message}); nothing is changed: let that build finish what goes on, then install into another schema"
    )]
    UnknownTables { message: String },
    #[error("{kind} {name} could not be installed: {source}{hint}")]
    Object {
        kind: Kind,
        name: String,
        source: sqlx::Error,
        hint: &'static str,
    },
    #[error("the program's own SQL is at fault: {0}")]
    Set(String),
}
