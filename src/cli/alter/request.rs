//! The change as an apply: under a name that the same command finds again.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::super::CliError;
use super::super::connect::{Parameter, Session, hex_literal};
use crate::control::{ControlError, ErrorCode};
use crate::preflight::Change;
use crate::text::shell_quoted;

pub(super) struct Request {
    schema: String,
    statements: Value,
    options: Map<String, Value>,
    /// Without the number that tells a repetition from what is settled.
    base: String,
    name: String,
    begun: Option<Begun>,
}

/// An apply of this change that is not settled.
#[derive(Debug, Clone)]
pub(super) struct Begun {
    pub apply_id: u64,
    pub state: String,
}

impl Request {
    pub fn new(change: &Change, options: Map<String, Value>) -> Self {
        let statements = json!(change.statements);
        let digest = Sha256::digest(json!([change.schema, statements]).to_string());
        let base = format!("alter-{}", &hex::encode(digest)[..12]);
        Self {
            schema: change.schema.clone(),
            statements,
            options,
            name: base.clone(),
            base,
            begun: None,
        }
    }

    /// The apply of the same change that is not settled, if there is one. Also finds the name to submit under.
    pub async fn begun(&mut self, session: &mut Session) -> Result<Option<Begun>, CliError> {
        let base = hex_literal(&self.base);
        let latest = session
            .read(format!(
                "SELECT a.apply_id, a.apply_name, a.state, a.finished_at IS NULL AS is_open
                   FROM apply_status AS a
                  WHERE a.apply_name = {base}
                     OR a.apply_name LIKE CONCAT({base}, '-%')
                  ORDER BY a.apply_id DESC
                  LIMIT 1"
            ))
            .await?;
        let name = latest.first_text("apply_name");
        self.begun = match latest.is(0, "is_open") {
            true => Some(Begun {
                apply_id: latest.whole(0, "apply_id")?,
                state: latest.first_text("state"),
            }),
            false => None,
        };
        self.name = if self.begun.is_some() {
            name
        } else {
            next_name(&self.base, &name)
        };
        Ok(self.begun.clone())
    }

    /// Submits, or finds that it was: two of the same at once come to the same apply.
    pub async fn submit(&self, session: &mut Session, deployment: &str) -> Result<u64, CliError> {
        let mut options = self.options.clone();
        options.insert("name".to_owned(), self.name.clone().into());
        options.insert("deployments".to_owned(), json!([deployment]));
        let (statements, options) = (
            self.statements.to_string(),
            Value::Object(options).to_string(),
        );
        let parameters = [
            Parameter::Text(Some(&self.schema)),
            Parameter::Text(Some(&statements)),
            Parameter::Text(Some(&options)),
        ];
        match session.try_call("apply_submit", &parameters).await {
            Ok(answer) => answer.whole(0, "apply_id"),
            Err(error) => {
                let said = CliError::database(session.settings(), &error);
                match (ControlError::from(error).code(), &self.begun) {
                    (Some(ErrorCode::NameTaken), Some(begun)) => {
                        let apply = begun.apply_id;
                        let with = begun_with(session, apply).await?;
                        // What has swapped can't be cancelled.
                        let give_up = match begun.state.as_str() {
                            "revert_window" => {
                                format!("lockkeeper skip-revert {apply}, or revert {apply}")
                            }
                            _ => format!("lockkeeper cancel {apply}"),
                        };
                        Err(CliError::failed(format!(
                            "apply {apply} makes this change with other options ({with}), which hold until its end; repeat those, \
                             or end it: {give_up}"
                        )))
                    }
                    _ => Err(said),
                }
            }
        }
    }
}

/// The options that an apply has, as this command's flags.
async fn begun_with(session: &mut Session, apply: u64) -> Result<String, CliError> {
    let has = session
        .read(format!(
            "SELECT a.defer_cutover, a.defer_timeout_seconds, a.revert_window_seconds, a.engine
               FROM apply_status AS a
              WHERE a.apply_id = {apply}"
        ))
        .await?;
    let mut flags = Vec::new();
    if has.is(0, "defer_cutover") {
        flags.push("--defer-cutover".to_owned());
    }
    for (flag, column) in [
        ("--defer-timeout", "defer_timeout_seconds"),
        ("--revert-window", "revert_window_seconds"),
    ] {
        let seconds: u64 = has.whole(0, column).unwrap_or(0);
        if seconds > 0 {
            flags.push(format!("{flag} {seconds}"));
        }
    }
    let engine = has.first_text("engine");
    if !engine.is_empty() && engine != "{}" {
        flags.push(format!("--engine {}", shell_quoted(&engine)));
    }
    Ok(match flags.is_empty() {
        true => "none of this command's".to_owned(),
        false => flags.join(" "),
    })
}

/// The name after that of the latest apply, which is settled; the first where there is none.
fn next_name(base: &str, latest: &str) -> String {
    let number = match latest.strip_prefix(base) {
        None => return base.to_owned(),
        Some(rest) => rest.strip_prefix('-').and_then(|rest| rest.parse().ok()),
    };
    format!("{base}-{}", number.unwrap_or(1_u64) + 1)
}

#[cfg(test)]
mod tests {
    use super::next_name;

    #[test]
    fn a_change_that_is_settled_may_be_asked_for_again() {
        assert_eq!(next_name("alter-a", ""), "alter-a");
        assert_eq!(next_name("alter-a", "alter-a"), "alter-a-2");
        assert_eq!(next_name("alter-a", "alter-a-9"), "alter-a-10");
    }
}
