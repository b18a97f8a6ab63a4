//! Values that a new type can't hold: found in the rows before they are copied.
//!
//! Copying runs in strict mode, so most of what doesn't fit is an error by itself, though late.
//! Some of it isn't: digits after the point are rounded, times lose their fraction, trailing spaces
//! go. That is refused unless it is consented to.

use std::time::Duration;

use sqlx::Row;

use super::error::server_error_number;
use super::insert::examples;
use super::key::KeyColumns;
use super::session::Session;
use super::table::{Column, DataType, Key, KeyKind, TableDefinition, TablePlan, quote};
use super::token::quote_text;
use super::{EngineError, Job};

/// How long the search for one bad value may take on a table; what isn't found by then is
/// left to the copy, where it is an error, or to the user's consent.
const SEARCH_LIMIT: Duration = Duration::from_secs(20);

/// What the `allow_lossy` option consents to.
enum Consent {
    Nothing,
    Everything,
    Columns(Vec<String>),
}

impl Consent {
    fn of(options: &serde_json::Value) -> Result<Self, EngineError> {
        match options.get("allow_lossy") {
            None | Some(serde_json::Value::Null | serde_json::Value::Bool(false)) => {
                Ok(Self::Nothing)
            }
            Some(serde_json::Value::Bool(true)) => Ok(Self::Everything),
            Some(serde_json::Value::Array(names)) if names.iter().all(|n| n.is_string()) => {
                let names = names.iter().filter_map(|n| n.as_str()).map(str::to_owned);
                Ok(Self::Columns(names.collect()))
            }
            Some(other) => Err(EngineError::permanent(format!(
                "engine option allow_lossy is {other}; it takes true, false or a list of columns"
            ))),
        }
    }

    fn covers(&self, column: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Columns(names) => names.iter().any(|n| n.eq_ignore_ascii_case(column)),
        }
    }
}

/// A way in which a value may not survive.
struct Loss {
    /// True for a row whose value would not be the same.
    condition: String,
    what: String,
    /// The server changes the value without an error even in strict mode.
    silent: bool,
}

/// Looks for rows that don't fit, and for rows that an added unique key would make equal.
///
/// # Errors
///
/// Permanent, naming the column, how many rows are concerned, and what to do.
pub async fn check(session: &mut Session, job: &Job, plan: &TablePlan) -> Result<(), EngineError> {
    let consent = Consent::of(&job.options)?;
    let (Some(original), Some(shadow)) = (&plan.original, &plan.shadow) else {
        return Ok(());
    };
    let Some(key) = &plan.key else { return Ok(()) };
    let key = KeyColumns::new(original, &key.source, &key.source_index);
    for pair in &plan.carried {
        let (was, now) = (&original.columns[pair.source], &shadow.columns[pair.target]);
        for loss in losses(was, now) {
            let consented = loss.silent && consent.covers(&was.name);
            if !consented {
                one(session, original, &key, was, now, &loss).await?;
            }
        }
    }
    for key in shadow.keys.iter().filter(|key| key.unique) {
        duplicates(session, plan, original, shadow, key).await?;
    }
    Ok(())
}

async fn one(
    session: &mut Session,
    original: &TableDefinition,
    key: &KeyColumns,
    was: &Column,
    now: &Column,
    loss: &Loss,
) -> Result<(), EngineError> {
    let statement = format!(
        "SELECT /*+ MAX_EXECUTION_TIME({}) */ COUNT(*) FROM {} WHERE {}",
        SEARCH_LIMIT.as_millis(),
        original.quoted(),
        loss.condition
    );
    let change = format!(
        "column {} of {}: from {} to {}",
        was.name,
        original.quoted(),
        was.column_type,
        now.column_type
    );
    match session.rows(&statement).await {
        Ok(rows) => {
            let count: i64 = rows
                .first()
                .map_or(Ok(0), |row| row.try_get_unchecked(0))
                .map_err(EngineError::while_doing("counting rows that don't fit"))?;
            if count == 0 {
                return Ok(());
            }
            let remedy = if loss.silent {
                "correct them, or consent with the option allow_lossy"
            } else {
                "correct them first"
            };
            let doing = EngineError::while_doing("looking for rows that don't fit");
            let rows = examples(session, original, key, &loss.condition, SEARCH_LIMIT).await;
            Err(EngineError::permanent(format!(
                "{change}: {count} rows {}, such as {}; {remedy}",
                loss.what,
                rows.map_err(doing)?.join(" and ")
            )))
        }
        // 3024: the table is too big to look at every row now.
        Err(error) if server_error_number(&error) == Some(3024) => {
            if loss.silent {
                Err(EngineError::permanent(format!(
                    "{change}: rows may be there whose value {}, which is not said to be wanted; \
                     consent with the option allow_lossy",
                    loss.what
                )))
            } else {
                tracing::info!(change, "too many rows to look at; the copy will tell");
                Ok(())
            }
        }
        Err(error) => Err(EngineError::while_doing(format!(
            "looking for values that don't fit {change}"
        ))(error)),
    }
}

fn losses(was: &Column, now: &Column) -> Vec<Loss> {
    let mut found = Vec::new();
    let name = quote(&was.name);
    let mut add = |silent: bool, what: &str, condition: String| {
        found.push(Loss {
            condition,
            what: what.to_owned(),
            silent,
        });
    };
    if was.nullable && !now.nullable {
        add(false, "are NULL", format!("{name} IS NULL"));
    }
    if was.column_type == now.column_type && was.character_set == now.character_set {
        return found;
    }
    let text = |c: &Column| {
        c.character_set.is_some() && !matches!(c.data_type, DataType::Enum | DataType::Set)
    };
    if let Some((low, high)) = range(now)
        && (number(was) || text(was))
    {
        if range(was).is_none_or(|(l, h)| l < low || h > high) && number(was) {
            add(
                false,
                &format!("are not between {low} and {high}"),
                format!("{name} NOT BETWEEN {low} AND {high}"),
            );
        }
        if range(was).is_none() && number(was) {
            add(
                true,
                "have digits after the point",
                format!("{name} <> ROUND({name})"),
            );
        }
    }
    if was.data_type == DataType::Decimal && now.data_type == DataType::Decimal {
        let (scale, digits) = (now.scale.unwrap_or(0), now.precision.unwrap_or(10));
        if was.scale.unwrap_or(0) > scale {
            add(
                true,
                &format!("have more than {scale} digits after the point"),
                format!("{name} <> ROUND({name}, {scale})"),
            );
        }
        let whole = digits.saturating_sub(scale);
        if was
            .precision
            .unwrap_or(10)
            .saturating_sub(was.scale.unwrap_or(0))
            > whole
        {
            add(
                false,
                &format!("have more than {whole} digits before the point"),
                format!("ABS({name}) >= POW(10, {whole})"),
            );
        }
        if now.unsigned && !was.unsigned {
            add(false, "are negative", format!("{name} < 0"));
        }
    }
    if was.data_type == DataType::Double && now.data_type == DataType::Float {
        add(
            true,
            "have more digits than a FLOAT",
            format!("CAST({name} AS FLOAT) <> {name}"),
        );
    }
    if matches!(was.data_type, DataType::Float | DataType::Double)
        && now.data_type == DataType::Decimal
    {
        let scale = now.scale.unwrap_or(0);
        add(
            true,
            &format!("have more than {scale} digits after the point"),
            format!("{name} <> ROUND({name}, {scale})"),
        );
    }
    let time = [DataType::DateTime, DataType::Timestamp, DataType::Time];
    if time.contains(&was.data_type) && time.contains(&now.data_type) {
        let (had, has) = (was.scale.unwrap_or(0), now.scale.unwrap_or(0));
        if has < had {
            add(
                true,
                &format!("have more than {has} digits of a second"),
                format!("MICROSECOND({name}) MOD {} <> 0", 10u32.pow(6 - has.min(6))),
            );
        }
    }
    if matches!(was.data_type, DataType::DateTime | DataType::Timestamp) {
        if now.data_type == DataType::Date {
            add(
                true,
                "have a time of day",
                format!("TIME({name}) <> '00:00:00'"),
            );
        }
        if now.data_type == DataType::Time {
            add(true, "lose their date", format!("{name} IS NOT NULL"));
        }
    }
    if text(was) && text(now) {
        if let (Some(from), Some(to)) = (&was.character_set, &now.character_set)
            && from != to
            && to != "utf8mb4"
        {
            add(
                false,
                &format!("have characters that {to} lacks"),
                format!(
                    "CAST(CONVERT(CONVERT({name} USING {to}) USING utf8mb4) AS BINARY) \
                     <> CAST(CONVERT({name} USING utf8mb4) AS BINARY)"
                ),
            );
        }
        if let Some(characters) = declared_length(now)
            && declared_length(was).is_none_or(|had| had > characters)
        {
            let shorter = format!("CHAR_LENGTH(TRIM(TRAILING ' ' FROM {name})) <= {characters}");
            add(
                false,
                &format!("are longer than {characters} characters"),
                format!("NOT ({shorter})"),
            );
            // Spaces past the end are cut without an error.
            add(
                true,
                &format!("have spaces after {characters} characters, which would be cut"),
                format!("CHAR_LENGTH({name}) > {characters} AND {shorter}"),
            );
        }
        if now.data_type == DataType::Char && was.data_type != DataType::Char {
            add(
                true,
                "end in spaces, which a CHAR does not keep",
                format!("{name} LIKE '% '"),
            );
        }
        if declared_length(now).is_none()
            && let Some(bytes) = now.max_bytes
            && was.max_bytes.is_none_or(|had| had > bytes)
        {
            add(
                false,
                &format!("are longer than {bytes} bytes"),
                format!("LENGTH({name}) > {bytes}"),
            );
        }
    }
    if binary(was)
        && binary(now)
        && let Some(bytes) = now.max_bytes
        && was.max_bytes.is_none_or(|had| had > bytes)
    {
        add(
            false,
            &format!("are longer than {bytes} bytes"),
            format!("LENGTH({name}) > {bytes}"),
        );
    }
    if binary(was) && now.data_type == DataType::Binary && was.column_type != now.column_type {
        let bytes = now.max_bytes.unwrap_or(1);
        add(
            true,
            &format!("are shorter than {bytes} bytes and would be padded"),
            format!("LENGTH({name}) < {bytes}"),
        );
    }
    if text(was) && now.data_type == DataType::Json {
        add(
            false,
            "are no JSON",
            format!("NOT JSON_VALID(CONVERT({name} USING utf8mb4))"),
        );
    }
    if was.data_type == DataType::Enum {
        add(
            false,
            "hold the empty value of an ENUM, which the server stores for what is no member",
            format!("{name} + 0 = 0"),
        );
    }
    let gone: Vec<&String> = was
        .members
        .iter()
        .filter(|member| !now.members.contains(member))
        .collect();
    if was.data_type == now.data_type && !gone.is_empty() {
        let condition = if was.data_type == DataType::Enum {
            let list: Vec<String> = gone.iter().map(|m| quote_text(m)).collect();
            format!("{name} IN ({})", list.join(", "))
        } else {
            let list: Vec<String> = gone
                .iter()
                .map(|m| format!("FIND_IN_SET({}, {name})", quote_text(m)))
                .collect();
            list.join(" OR ")
        };
        add(false, "hold a member that is removed", condition);
    }
    found
}

/// The whole numbers that an integer type holds.
fn range(column: &Column) -> Option<(i128, i128)> {
    let bits = match column.data_type {
        DataType::TinyInt => 8,
        DataType::SmallInt => 16,
        DataType::MediumInt => 24,
        DataType::Int => 32,
        DataType::BigInt => 64,
        _ => return None,
    };
    Some(if column.unsigned {
        (0, (1i128 << bits) - 1)
    } else {
        (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
    })
}

fn number(column: &Column) -> bool {
    range(column).is_some()
        || matches!(
            column.data_type,
            DataType::Decimal | DataType::Float | DataType::Double
        )
}

fn binary(column: &Column) -> bool {
    matches!(
        column.data_type,
        DataType::Binary
            | DataType::VarBinary
            | DataType::TinyBlob
            | DataType::Blob
            | DataType::MediumBlob
            | DataType::LongBlob
    )
}

/// The n of CHAR(n) and VARCHAR(n).
fn declared_length(column: &Column) -> Option<u64> {
    if !matches!(column.data_type, DataType::Char | DataType::VarChar) {
        return None;
    }
    let (_, rest) = column.column_type.split_once('(')?;
    rest.split_once(')')?.0.parse().ok()
}

/// Two rows that the new unique key would make equal, both named.
async fn duplicates(
    session: &mut Session,
    plan: &TablePlan,
    original: &TableDefinition,
    shadow: &TableDefinition,
    key: &Key,
) -> Result<(), EngineError> {
    let Some(columns) = key_in_original(plan, original, shadow, key) else {
        return Ok(());
    };
    let Some(copy_key) = &plan.key else {
        return Ok(());
    };
    let address: Vec<String> = copy_key
        .source
        .iter()
        .map(|c| quote(&original.columns[*c].name))
        .collect();
    let names: Vec<&str> = copy_key
        .source
        .iter()
        .map(|c| original.columns[*c].name.as_str())
        .collect();
    let address = match address.as_slice() {
        [one] => format!("CAST({one} AS CHAR)"),
        several => format!("CONCAT_WS(',', {})", several.join(", ")),
    };
    let not_null: Vec<String> = columns
        .iter()
        .map(|c| format!("({c}) IS NOT NULL"))
        .collect();
    let statement = format!(
        "SELECT /*+ MAX_EXECUTION_TIME({}) */ MIN({address}), MAX({address}), COUNT(*) FROM {} \
          WHERE {} GROUP BY {} HAVING COUNT(*) > 1 LIMIT 1",
        SEARCH_LIMIT.as_millis(),
        original.quoted(),
        not_null.join(" AND "),
        columns.join(", ")
    );
    match session.rows(&statement).await {
        Ok(rows) => {
            let Some(row) = rows.first() else {
                return Ok(());
            };
            let side = |i: usize| {
                row.try_get_unchecked::<String, _>(i)
                    .unwrap_or_else(|_| "?".into())
            };
            Err(EngineError::permanent(format!(
                "unique key {} of {} would make rows equal: those with {} {} and {}, perhaps more; \
                 correct one of them first",
                key.name,
                original.quoted(),
                names.join(","),
                side(0),
                side(1)
            )))
        }
        Err(error) if server_error_number(&error) == Some(3024) => {
            tracing::info!(
                key = key.name,
                "too many rows to compare; the copy will tell"
            );
            Ok(())
        }
        Err(error) => Err(EngineError::while_doing(format!(
            "looking for duplicates in {}",
            key.name
        ))(error)),
    }
}

/// The new key's parts as expressions over the original, or `None` if it makes no rows equal
/// that a unique key of the original keeps apart, or if that can't be asked before the copy.
fn key_in_original(
    plan: &TablePlan,
    original: &TableDefinition,
    shadow: &TableDefinition,
    key: &Key,
) -> Option<Vec<String>> {
    if key.kind != KeyKind::BTree {
        return None;
    }
    let mut expressions = Vec::new();
    let mut sources = Vec::new();
    for part in &key.parts {
        let target = part.column?;
        let pair = plan.carried.iter().find(|c| c.target == target)?;
        let (was, now) = (&original.columns[pair.source], &shadow.columns[target]);
        let mut expression = quote(&was.name);
        if let (Some(set), Some(collation)) = (&now.character_set, &now.collation)
            && !was.compares_as(now)
        {
            was.character_set.as_ref()?;
            expression = format!("(CONVERT({expression} USING {set}) COLLATE {collation})");
        }
        if let Some(prefix) = part.prefix {
            expression = format!("LEFT({expression}, {prefix})");
        } else if was.compares_as(now) {
            sources.push(pair.source);
        }
        expressions.push(expression);
    }
    // A unique key over a part of these columns keeps all rows apart already.
    let kept_apart = original.keys.iter().any(|other| {
        other.unique
            && other.kind == KeyKind::BTree
            && other.parts.iter().all(|part| {
                part.prefix.is_none()
                    && part
                        .column
                        .is_some_and(|c| sources.contains(&c) && !original.columns[c].nullable)
            })
    }) || original.keys.iter().any(|other| {
        // The same key, NULLs and all.
        other.unique
            && other.parts.len() == key.parts.len()
            && sources.len() == key.parts.len()
            && other
                .parts
                .iter()
                .zip(&sources)
                .all(|(part, source)| part.prefix.is_none() && part.column == Some(*source))
    });
    (!kept_apart).then_some(expressions)
}
