//! Reads what a table is, from the server's catalogue.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::storage::Stored;
use super::{Column, DataType, Generated, Key, KeyKind, KeyPart, TableDefinition, create_text};
use crate::engine::EngineError;
use crate::engine::session::Session;
use crate::engine::syntax::create_text::ElementKind;
use crate::engine::syntax::quote_table;
use crate::engine::syntax::token::{Dialect, TokenKind, tokens};
use crate::server_error;

pub(super) fn failed(table: &str) -> impl FnOnce(sqlx::Error) -> EngineError + use<> {
    EngineError::while_doing(format!("reading the definition of {table}"))
}

/// `SHOW CREATE TABLE`, or `None` where there is no such table. Also under `LOCK TABLES`.
pub async fn create_statement(
    session: &mut Session,
    schema: &str,
    name: &str,
) -> Result<Option<String>, EngineError> {
    let quoted = quote_table(schema, name);
    match session.rows(&format!("SHOW CREATE TABLE {quoted}")).await {
        Ok(rows) => rows
            .first()
            .map(|row| row.try_get_unchecked(1))
            .transpose()
            .map_err(failed(&quoted)),
        // 1146 and 1049: no such table, no such schema.
        Err(error) if matches!(server_error::number(&error), Some(1146 | 1049)) => Ok(None),
        Err(error) => Err(failed(&quoted)(error)),
    }
}

/// A schema's name as the server spells it, in the binlog too; as it was given where there is none of that name.
///
/// Under `lower_case_table_names` a name may be given otherwise, and rows are told by their schema's name, letter by letter.
pub async fn schema_name(session: &mut Session, given: &str) -> Result<String, EngineError> {
    let row = sqlx::query(
        "SELECT CAST(s.SCHEMA_NAME AS CHAR) FROM information_schema.SCHEMATA AS s WHERE s.SCHEMA_NAME = ?",
    )
    .bind(given)
    .fetch_optional(session.connection())
    .await
    .map_err(failed(given))?;
    row.map_or_else(
        || Ok(given.to_owned()),
        |row| row.try_get_unchecked(0).map_err(failed(given)),
    )
}

/// The table, or `None` where there is none of that name.
pub async fn table(
    session: &mut Session,
    schema: &str,
    name: &str,
) -> Result<Option<TableDefinition>, EngineError> {
    let quoted = quote_table(schema, name);
    let Some(create_statement) = create_statement(session, schema, name).await? else {
        return Ok(None);
    };
    let columns = columns(session, schema, name).await?;
    let keys = keys(session, schema, name, &columns, &create_statement).await?;
    let size = sqlx::query(
        "SELECT CAST(COALESCE(t.TABLE_ROWS, 0) AS UNSIGNED), CAST(COALESCE(t.DATA_LENGTH, 0) AS UNSIGNED), \
                CAST(COALESCE(t.INDEX_LENGTH, 0) AS UNSIGNED), CAST(t.AUTO_INCREMENT AS UNSIGNED), \
                CAST(t.TABLE_NAME AS CHAR) \
           FROM information_schema.TABLES AS t \
          WHERE t.TABLE_SCHEMA = ? AND t.TABLE_NAME = ?",
    )
    .bind(schema)
    .bind(name)
    .fetch_optional(session.connection())
    .await
    .map_err(failed(&quoted))?;
    let Some(size) = size else { return Ok(None) };
    let number = |i: usize| size.try_get_unchecked::<Option<u64>, _>(i);
    // As the server spells it: under lower_case_table_names a statement may spell it otherwise.
    let name: String = size.try_get_unchecked(4).map_err(failed(&quoted))?;
    let stored = Stored::of(session, schema, &name).await?;
    Ok(Some(TableDefinition {
        schema: schema.to_owned(),
        name,
        columns,
        keys,
        create_statement,
        estimated_rows: number(0).map_err(failed(&quoted))?.unwrap_or(0),
        data_bytes: number(1).map_err(failed(&quoted))?.unwrap_or(0),
        index_bytes: number(2).map_err(failed(&quoted))?.unwrap_or(0),
        auto_increment: number(3).map_err(failed(&quoted))?,
        table_id: stored.ids.first().copied().unwrap_or(0),
        storage_ids: stored.ids,
        row_versions: stored.row_versions,
    }))
}

async fn columns(
    session: &mut Session,
    schema: &str,
    name: &str,
) -> Result<Vec<Column>, EngineError> {
    let quoted = quote_table(schema, name);
    let rows = sqlx::query(
        "SELECT CAST(c.COLUMN_NAME AS CHAR), CAST(c.ORDINAL_POSITION AS UNSIGNED), CAST(c.DATA_TYPE AS CHAR), \
                CAST(c.COLUMN_TYPE AS CHAR), c.IS_NULLABLE = 'YES', CAST(c.CHARACTER_SET_NAME AS CHAR), \
                CAST(c.COLLATION_NAME AS CHAR), CAST(c.CHARACTER_OCTET_LENGTH AS UNSIGNED), \
                CAST(c.NUMERIC_PRECISION AS UNSIGNED), \
                CAST(COALESCE(c.NUMERIC_SCALE, c.DATETIME_PRECISION) AS UNSIGNED), \
                CAST(c.EXTRA AS CHAR), CAST(c.SRS_ID AS UNSIGNED), CAST(c.COLUMN_DEFAULT AS CHAR) \
           FROM information_schema.COLUMNS AS c \
          WHERE c.TABLE_SCHEMA = ? AND c.TABLE_NAME = ? \
          ORDER BY c.ORDINAL_POSITION",
    )
    .bind(schema)
    .bind(name)
    .fetch_all(session.connection())
    .await
    .map_err(failed(&quoted))?;
    rows.iter()
        .enumerate()
        .map(|(ordinal, row)| column(ordinal, row, &quoted))
        .collect()
}

fn column(ordinal: usize, row: &MySqlRow, table: &str) -> Result<Column, EngineError> {
    let text = |i: usize| row.try_get_unchecked::<Option<String>, _>(i);
    let number = |i: usize| row.try_get_unchecked::<Option<u64>, _>(i);
    let read = || -> Result<_, sqlx::Error> {
        Ok((
            text(0)?.unwrap_or_default(),
            text(2)?.unwrap_or_default(),
            text(3)?.unwrap_or_default(),
            row.try_get_unchecked::<i64, _>(4)? == 1,
            (text(5)?, text(6)?),
            (number(7)?, number(8)?, number(9)?),
            text(10)?.unwrap_or_default(),
            (number(11)?, text(12)?),
        ))
    };
    let (name, type_name, column_type, nullable, charset, sizes, extra, (srs_id, default)) =
        read().map_err(failed(table))?;
    let data_type = data_type(&type_name).ok_or_else(|| {
        EngineError::permanent(format!(
            "column {name} of {table} is of type {type_name}, which this version doesn't know; \
             a newer Lockkeeper may"
        ))
    })?;
    let extra = extra.to_ascii_uppercase();
    let small = |n: Option<u64>| n.and_then(|n| u32::try_from(n).ok());
    Ok(Column {
        members: members(data_type, &column_type),
        unsigned: column_type.to_ascii_lowercase().contains(" unsigned"),
        name,
        ordinal,
        data_type,
        column_type,
        nullable,
        character_set: charset.0,
        collation: charset.1,
        max_bytes: sizes.0,
        precision: small(sizes.1),
        scale: small(sizes.2),
        generated: if extra.contains("VIRTUAL GENERATED") {
            Some(Generated::Virtual)
        } else if extra.contains("STORED GENERATED") {
            Some(Generated::Stored)
        } else {
            None
        },
        auto_increment: extra.contains("AUTO_INCREMENT"),
        invisible: extra.contains("INVISIBLE"),
        srs_id: small(srs_id),
        default,
    })
}

fn data_type(name: &str) -> Option<DataType> {
    Some(match name.to_ascii_lowercase().as_str() {
        "tinyint" => DataType::TinyInt,
        "smallint" => DataType::SmallInt,
        "mediumint" => DataType::MediumInt,
        "int" => DataType::Int,
        "bigint" => DataType::BigInt,
        "decimal" => DataType::Decimal,
        "float" => DataType::Float,
        "double" => DataType::Double,
        "bit" => DataType::Bit,
        "year" => DataType::Year,
        "date" => DataType::Date,
        "time" => DataType::Time,
        "datetime" => DataType::DateTime,
        "timestamp" => DataType::Timestamp,
        "char" => DataType::Char,
        "varchar" => DataType::VarChar,
        "binary" => DataType::Binary,
        "varbinary" => DataType::VarBinary,
        "tinyblob" => DataType::TinyBlob,
        "blob" => DataType::Blob,
        "mediumblob" => DataType::MediumBlob,
        "longblob" => DataType::LongBlob,
        "tinytext" => DataType::TinyText,
        "text" => DataType::Text,
        "mediumtext" => DataType::MediumText,
        "longtext" => DataType::LongText,
        "enum" => DataType::Enum,
        "set" => DataType::Set,
        "json" => DataType::Json,
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geomcollection" | "geometrycollection" => DataType::Geometry,
        "vector" => DataType::Vector,
        _ => return None,
    })
}

/// The members of an ENUM or SET, from how the catalogue spells its type.
fn members(data_type: DataType, column_type: &str) -> Vec<String> {
    if !matches!(data_type, DataType::Enum | DataType::Set) {
        return Vec::new();
    }
    tokens(column_type, Dialect::OF_THE_SERVER)
        .unwrap_or_default()
        .into_iter()
        .filter(|token| token.kind == TokenKind::Text)
        .map(|token| unescaped(&token.value))
        .collect()
}

/// The catalogue writes some characters of a member with a backslash.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        plain.push(match c {
            '\\' => match characters.next() {
                Some('0') => '\0',
                Some('n') => '\n',
                Some('r') => '\r',
                Some(other) => other,
                None => '\\',
            },
            other => other,
        });
    }
    plain
}

async fn keys(
    session: &mut Session,
    schema: &str,
    name: &str,
    columns: &[Column],
    create_statement: &str,
) -> Result<Vec<Key>, EngineError> {
    let quoted = quote_table(schema, name);
    let rows = sqlx::query(
        "SELECT CAST(s.INDEX_NAME AS CHAR), s.NON_UNIQUE = 0, CAST(s.COLUMN_NAME AS CHAR), \
                CAST(s.SUB_PART AS UNSIGNED), COALESCE(s.COLLATION, 'A') = 'D', \
                CAST(s.INDEX_TYPE AS CHAR), s.IS_VISIBLE = 'YES' \
           FROM information_schema.STATISTICS AS s \
          WHERE s.TABLE_SCHEMA = ? AND s.TABLE_NAME = ? \
          ORDER BY s.INDEX_NAME, s.SEQ_IN_INDEX",
    )
    .bind(schema)
    .bind(name)
    .fetch_all(session.connection())
    .await
    .map_err(failed(&quoted))?;
    let by_name: HashMap<&str, usize> = columns
        .iter()
        .map(|c| (c.name.as_str(), c.ordinal))
        .collect();
    let mut found: HashMap<String, Key> = HashMap::new();
    for row in &rows {
        let read = || -> Result<_, sqlx::Error> {
            Ok((
                row.try_get_unchecked::<String, _>(0)?,
                row.try_get_unchecked::<i64, _>(1)? == 1,
                row.try_get_unchecked::<Option<String>, _>(2)?,
                row.try_get_unchecked::<Option<u64>, _>(3)?,
                row.try_get_unchecked::<i64, _>(4)? == 1,
                row.try_get_unchecked::<String, _>(5)?,
                row.try_get_unchecked::<i64, _>(6)? == 1,
            ))
        };
        let (name, unique, column, prefix, descending, kind, visible) =
            read().map_err(failed(&quoted))?;
        let kind = match kind.as_str() {
            "FULLTEXT" => KeyKind::FullText,
            "SPATIAL" => KeyKind::Spatial,
            _ => KeyKind::BTree,
        };
        let part = KeyPart {
            column: column.and_then(|column| by_name.get(column.as_str()).copied()),
            // Spatial keys show the length of their boxes.
            prefix: prefix
                .filter(|_| kind == KeyKind::BTree)
                .and_then(|n| u32::try_from(n).ok()),
            descending,
        };
        found
            .entry(name.clone())
            .or_insert_with(|| Key {
                name,
                unique,
                kind,
                visible,
                parts: Vec::new(),
                definition: String::new(),
            })
            .parts
            .push(part);
    }
    let text = create_text(create_statement)?;
    // In the order of the server's own text, the primary key first.
    let mut keys = Vec::new();
    for element in text.of_kind(ElementKind::Key) {
        if let Some(mut key) = found.remove(&element.name) {
            key.definition.clone_from(&element.text);
            keys.push(key);
        }
    }
    if let Some(name) = found.keys().next() {
        return Err(EngineError::permanent(format!(
            "SHOW CREATE TABLE {quoted} does not show its key {name}; nothing was changed"
        )));
    }
    Ok(keys)
}
