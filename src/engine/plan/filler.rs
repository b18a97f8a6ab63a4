//! Defaults that only the copy needs.
//!
//! `ADD COLUMN c INT NOT NULL` gives the rows that are there a 0, though c has no default. Rows
//! that are inserted into the shadow would be refused instead. So until the swap such a column
//! has the value that the server would have given it as its default.

use crate::engine::names::Owner;
use crate::engine::session::Session;
use crate::engine::session::user::UserSettings;
use crate::engine::syntax::{quote, quote_table, quote_text};
use crate::engine::table::{Column, DataType, TableDefinition, TablePlan, Way};
use crate::engine::{EngineError, Job, plan};

/// A column of the shadow, and the default that it has until the swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filler {
    pub column: String,
    pub default: String,
}

/// The columns of a freshly altered shadow that need a default.
///
/// # Errors
///
/// Permanent for a type that the server has no value for either.
pub fn needed(
    shadow: &TableDefinition,
    carried: &[crate::engine::table::Carried],
    user_sql_mode: &str,
) -> Result<Vec<Filler>, EngineError> {
    let mut found = Vec::new();
    for column in candidates(shadow, carried) {
        if column.default.is_some() {
            continue;
        }
        let default = implicit(column, user_sql_mode).ok_or_else(|| {
            EngineError::permanent(format!(
                "column {} is added NOT NULL without a default, and there is no {} that the rows \
                 could get; give it a DEFAULT, or allow NULL",
                column.name, column.column_type
            ))
        })?;
        found.push(Filler {
            column: column.name.clone(),
            default,
        });
    }
    Ok(found)
}

fn candidates<'a>(
    shadow: &'a TableDefinition,
    carried: &'a [crate::engine::table::Carried],
) -> impl Iterator<Item = &'a Column> {
    shadow.columns.iter().filter(|column| {
        !column.nullable
            && column.generated.is_none()
            && !column.auto_increment
            && !carried.iter().any(|c| c.target == column.ordinal)
    })
}

/// The fillers of a shadow that may have them already: the statement is tried again on an
/// empty table to see which defaults are its own.
pub(crate) async fn of_plan(
    session: &mut Session,
    job: &Job,
    owner: &Owner,
    user: &UserSettings,
    plan: &TablePlan,
) -> Result<Vec<Filler>, EngineError> {
    let Some(shadow) = &plan.shadow else {
        return Ok(Vec::new());
    };
    if candidates(shadow, &plan.carried).next().is_none() {
        return Ok(Vec::new());
    }
    let trial = plan::definition_on_trial(session, job, owner, user, plan).await?;
    match trial {
        Some(trial) => needed(&trial, &plan.carried, &user.sql_mode),
        None => Ok(Vec::new()),
    }
}

/// Gives the columns their default; for those that have it nothing changes.
pub(crate) async fn set(
    session: &mut Session,
    schema: &str,
    table: &str,
    fillers: &[Filler],
) -> Result<(), EngineError> {
    change(session, schema, table, fillers, |filler| {
        format!("SET DEFAULT {}", filler.default)
    })
    .await
}

/// Gives the shadows what a swap has taken from them that did not come to its RENAME: whoever writes to them needs it.
pub(crate) async fn restore(
    session: &mut Session,
    job: &Job,
    owner: &Owner,
    plans: &[TablePlan],
) -> Result<(), EngineError> {
    let user = UserSettings::of(session, job).await?;
    for plan in plans.iter().filter(|plan| plan.way == Way::Copy) {
        let fillers = of_plan(session, job, owner, &user, plan).await?;
        let shadow = owner.shadow_of(&plan.task);
        set(session, &job.schema_name, &shadow, &fillers).await?;
    }
    Ok(())
}

/// Takes the defaults away.
pub(crate) async fn drop(
    session: &mut Session,
    schema: &str,
    table: &str,
    fillers: &[Filler],
) -> Result<(), EngineError> {
    change(session, schema, table, fillers, |_| "DROP DEFAULT".into()).await
}

async fn change(
    session: &mut Session,
    schema: &str,
    table: &str,
    fillers: &[Filler],
    action: impl Fn(&Filler) -> String,
) -> Result<(), EngineError> {
    if fillers.is_empty() {
        return Ok(());
    }
    let clauses: Vec<String> = fillers
        .iter()
        .map(|filler| format!("ALTER COLUMN {} {}", quote(&filler.column), action(filler)))
        .collect();
    let table = quote_table(schema, table);
    session
        .run(&format!(
            "ALTER TABLE {table} {}, ALGORITHM=INPLACE",
            clauses.join(", ")
        ))
        .await
        .map(|_| ())
        .map_err(EngineError::while_doing(format!(
            "changing the defaults of {table}"
        )))
}

/// What the server gives to existing rows when it adds such a column.
fn implicit(column: &Column, user_sql_mode: &str) -> Option<String> {
    let zero_dates = !user_sql_mode.to_ascii_uppercase().contains("NO_ZERO_DATE");
    let text = |value: &str| Some(format!("'{value}'"));
    match column.data_type {
        DataType::TinyInt
        | DataType::SmallInt
        | DataType::MediumInt
        | DataType::Int
        | DataType::BigInt
        | DataType::Decimal
        | DataType::Float
        | DataType::Double
        | DataType::Bit
        | DataType::Year => Some("0".into()),
        DataType::Time => text("00:00:00"),
        DataType::Date if zero_dates => text("0000-00-00"),
        DataType::DateTime | DataType::Timestamp if zero_dates => text("0000-00-00 00:00:00"),
        DataType::Date | DataType::DateTime | DataType::Timestamp => None,
        DataType::Char
        | DataType::VarChar
        | DataType::Binary
        | DataType::VarBinary
        | DataType::Set => text(""),
        DataType::Enum => column.members.first().map(|member| quote_text(member)),
        DataType::TinyBlob
        | DataType::Blob
        | DataType::MediumBlob
        | DataType::LongBlob
        | DataType::TinyText
        | DataType::Text
        | DataType::MediumText
        // ALTER COLUMN refuses a bare literal here, in parentheses too.
        | DataType::LongText => Some("(CONCAT(''))".into()),
        DataType::Json => Some("(CAST('null' AS JSON))".into()),
        DataType::Geometry | DataType::Vector => None,
    }
}
