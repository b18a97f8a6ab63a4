//! Which program goes with which schema.

use sqlx::MySqlConnection;

use super::error::InstallError;
use super::migrate::{HISTORY_TABLE, migrations};
use super::objects::{self, Recorded};
use crate::server_error;

/// The version of the public SQL interface that this program speaks and installs.
pub const API_VERSION: u32 = 1;
/// The version of the program, and of the objects that it installs.
pub const PROGRAM_VERSION: &str = env!("CARGO_PKG_VERSION");

const NO_SUCH_TABLE: u16 = 1146;
const NO_SUCH_SCHEMA: u16 = 1049;

/// Refuses a schema that a newer program has made, before anything in it is touched.
pub(super) async fn refuse_newer(
    session: &mut MySqlConnection,
    schema: &str,
) -> Result<(), InstallError> {
    let newer = |installed: String| InstallError::SchemaNewer {
        schema: schema.to_owned(),
        installed,
        program: PROGRAM_VERSION.to_owned(),
    };
    let known = migrations()?.last().map_or(0, |last| last.version());
    let applied = sqlx::query_scalar::<_, Option<i32>>(sqlx::AssertSqlSafe(format!(
        "SELECT MAX(h.version) FROM {HISTORY_TABLE} AS h"
    )))
    .fetch_one(&mut *session)
    .await;
    match applied {
        Ok(Some(applied)) if applied > known => {
            return Err(newer(format!("with tables of version {applied}")));
        }
        Ok(_) => {}
        Err(error) if server_error::number(&error) == Some(NO_SUCH_TABLE) => {}
        Err(error) => return Err(error.into()),
    }
    match objects::recorded(session).await {
        Ok(recorded) => match newest(&recorded) {
            Some((api, version)) if api > API_VERSION || is_newer(&version, PROGRAM_VERSION) => {
                Err(newer(version))
            }
            Some(_) | None => Ok(()),
        },
        Err(error) if server_error::number(&error) == Some(NO_SUCH_TABLE) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether this program's driver may work with the schema of `session`.
///
/// # Errors
///
/// [`InstallError::SchemaNewer`], [`InstallError::SchemaOlder`], [`InstallError::SchemaDiffers`],
/// [`InstallError::SchemaIncomplete`] or [`InstallError::NotInstalled`], each with the command to run.
pub async fn check_for_drive(
    session: &mut MySqlConnection,
    schema: &str,
) -> Result<(), InstallError> {
    match objects::recorded_in_view(session).await {
        Ok(recorded) => judge(&recorded, schema),
        Err(error) => match server_error::number(&error) {
            Some(NO_SUCH_TABLE | NO_SUCH_SCHEMA) => Err(InstallError::NotInstalled {
                schema: schema.to_owned(),
            }),
            // The account may not look at `object_version`; `driver_register` decides.
            _ if server_error::is_denied(&error) => Ok(()),
            Some(_) | None => Err(error.into()),
        },
    }
}

fn judge(recorded: &[Recorded], schema: &str) -> Result<(), InstallError> {
    let (schema, program) = (schema.to_owned(), PROGRAM_VERSION.to_owned());
    let Some((api, installed)) = newest(recorded) else {
        return Err(InstallError::NotInstalled { schema });
    };
    if api > API_VERSION {
        return Err(InstallError::SchemaNewer {
            schema,
            installed,
            program,
        });
    }
    if api < API_VERSION || is_newer(PROGRAM_VERSION, &installed) {
        return Err(InstallError::SchemaOlder {
            schema,
            installed,
            program,
        });
    }
    // A newer set with the same API serves us too: drivers are upgraded one after the other.
    if installed != PROGRAM_VERSION {
        return Ok(());
    }
    match objects::first_difference(recorded)? {
        None => Ok(()),
        Some(detail) if objects::is_unfinished(recorded)? => {
            Err(InstallError::SchemaIncomplete { schema, detail })
        }
        Some(detail) => Err(InstallError::SchemaDiffers {
            schema,
            program,
            detail,
        }),
    }
}

fn newest(recorded: &[Recorded]) -> Option<(u32, String)> {
    recorded
        .iter()
        .max_by_key(|object| (object.api_version, numbers(&object.version)))
        .map(|object| (object.api_version, object.version.clone()))
}

fn is_newer(left: &str, right: &str) -> bool {
    numbers(left) > numbers(right)
}

/// `1.10.0` comes after `1.9.3`.
fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|character: char| !character.is_ascii_digit())
        .map_while(|part| part.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_of(api_version: u32, version: &str) -> Vec<Recorded> {
        vec![Recorded {
            name: "apply_status".to_owned(),
            kind: "view".to_owned(),
            api_version,
            version: version.to_owned(),
            sha256: String::new(),
        }]
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(is_newer("1.10.0", "1.9.3") && !is_newer("0.1.0", "0.1.0"));
    }

    #[test]
    fn each_mismatch_says_what_to_run() {
        let newer = judge(&set_of(API_VERSION + 1, "99.0.0"), "lk").unwrap_err();
        assert!(
            newer.to_string().contains("run a newer lockkeeper"),
            "{newer}"
        );
        let older = judge(&set_of(API_VERSION, "0.0.1"), "lk").unwrap_err();
        assert!(
            older.to_string().contains("run `lockkeeper install`"),
            "{older}"
        );
        let none = judge(&[], "lk").unwrap_err();
        assert!(
            none.to_string().contains("run `lockkeeper install`"),
            "{none}"
        );
    }

    #[test]
    fn a_driver_goes_on_while_the_schema_of_its_api_is_newer() {
        judge(&set_of(API_VERSION, "99.0.0"), "lk").expect("usable");
    }
}
