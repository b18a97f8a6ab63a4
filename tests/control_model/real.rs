//! The same calls on the real server, through the public procedures, and what its views say.

use std::collections::BTreeMap;

use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, Row as _};

use crate::model::{Claim, Command, OnFailure, Policies, Policy};

/// What a refused call was refused with.
pub type Answer<T> = Result<T, u16>;

/// Everything of one apply that the model has to agree with.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    pub states: Vec<String>,
    pub leased: Vec<bool>,
    pub claimable: BTreeMap<usize, String>,
    /// Gate and the position of the blocker.
    pub blocked: BTreeMap<usize, (String, Option<usize>)>,
    pub apply_state: String,
    pub requests: Vec<(String, String)>,
    pub inconsistent: i64,
}

pub struct Real {
    pub session: MySqlConnection,
    pub apply: u64,
    pub operations: Vec<u64>,
    /// The valid token of each operation.
    pub tokens: Vec<Option<String>>,
    /// The one before.
    pub lost: Vec<Option<String>>,
}

impl Real {
    pub async fn submit(
        mut session: MySqlConnection,
        table: &str,
        policies: &Policies,
    ) -> Result<Self, sqlx::Error> {
        let deployments: Vec<String> = (0..policies.operations)
            .map(|number| format!("d{number}"))
            .collect();
        let options = serde_json::json!({
            "deployments": deployments,
            "cutover_policy": match policies.policy {
                Policy::Rolling => "rolling",
                Policy::Barrier => "barrier",
                Policy::Parallel => "parallel",
            },
            "cutover_gate": if policies.all_parked { "all_parked" } else { "in_order" },
            "on_failure": match policies.on_failure {
                OnFailure::Halt => "halt",
                OnFailure::Continue => "continue",
                OnFailure::Pause => "pause",
            },
            "defer_cutover": policies.defer,
            "revert_window_seconds": policies.window_seconds,
            "revert_scope": if policies.scope_apply { "apply" } else { "operation" },
        });
        let mut options = options;
        if let Some(limit) = policies.max_copies {
            options["max_copies"] = limit.into();
        }
        let apply: u64 = sqlx::query("CALL apply_submit('shop', ?, ?)")
            .bind(format!("ALTER TABLE {table} ADD COLUMN c INT"))
            .bind(options.to_string())
            .fetch_one(&mut session)
            .await?
            .try_get(0)?;
        let operations = sqlx::query_scalar(
            "SELECT operation_id FROM operation_status WHERE apply_id = ? ORDER BY position",
        )
        .bind(apply)
        .fetch_all(&mut session)
        .await?;
        Ok(Self {
            session,
            apply,
            operations,
            tokens: vec![None; policies.operations],
            lost: vec![None; policies.operations],
        })
    }

    /// One CALL; a refusal is its number, any other error a defect.
    async fn call(&mut self, call: String) -> Answer<Option<MySqlRow>> {
        match sqlx::raw_sql(AssertSqlSafe(call.clone()))
            .fetch_optional(&mut self.session)
            .await
        {
            Ok(row) => Ok(row),
            Err(sqlx::Error::Database(error)) => {
                let number = error
                    .downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
                    .number();
                assert!((50000..52000).contains(&number), "{call}: {number} {error}");
                Err(number)
            }
            Err(error) => panic!("{call}: {error}"),
        }
    }

    /// The position that was claimed, and the answered states.
    pub async fn claim(&mut self, claim: Claim, scoped: bool) -> Option<(usize, String, String)> {
        let name = match claim {
            Claim::Copy => "operation_claim_copy",
            Claim::Cutover => "operation_claim_cutover",
        };
        let scope = if scoped {
            r#"'{"deployments": ["d4", "d3", "d2", "d1", "d0"]}'"#
        } else {
            "NULL"
        };
        let row = self
            .call(format!("CALL {name}('model', {scope})"))
            .await
            .unwrap_or_else(|number| panic!("a claim was refused: {number}"))?;
        let id: u64 = row.get("operation_id");
        let at = self.operations.iter().position(|own| *own == id);
        let at = at.unwrap_or_else(|| panic!("{id} is of another apply"));
        let token: String = row.get("lease_token");
        assert!(self.tokens[at].as_ref() != Some(&token) && self.lost[at].as_ref() != Some(&token));
        if let Some(before) = self.tokens[at].replace(token) {
            self.lost[at] = Some(before);
        }
        Some((at, row.get("previous_state"), row.get("state")))
    }

    /// A driver's call with the operation's own token; the first column of its answer.
    pub async fn driver(&mut self, procedure: &str, at: usize, more: &str) -> Answer<String> {
        let token = self.tokens[at].clone().unwrap_or_default();
        self.with_token(procedure, at, &token, more).await
    }

    pub async fn with_token(
        &mut self,
        procedure: &str,
        at: usize,
        token: &str,
        more: &str,
    ) -> Answer<String> {
        let id = self.operations[at];
        let column = if procedure == "operation_heartbeat" {
            1
        } else {
            0
        };
        let row = self
            .call(format!("CALL {procedure}({id}, '{token}'{more})"))
            .await?;
        let row = row.unwrap_or_else(|| panic!("{procedure} answers one row"));
        Ok(row
            .try_get::<String, _>(column)
            .unwrap_or_else(|_| "1".to_owned()))
    }

    pub async fn take_lease(&mut self, at: usize) -> Answer<()> {
        let id = self.operations[at];
        self.call(format!("CALL operation_release_lease({id}, 'model')"))
            .await
            .map(|_| ())
    }

    pub async fn age(&mut self, at: usize, seconds: i64) {
        let id = self.operations[at];
        self.call(format!("CALL operation_age({id}, {seconds})"))
            .await
            .unwrap_or_else(|number| panic!("operation_age was refused: {number}"));
    }

    pub async fn command(&mut self, command: Command, last_open: Option<usize>) -> Answer<String> {
        let apply = self.apply;
        let call = match command {
            Command::Stop
            | Command::Start
            | Command::Cancel
            | Command::Release
            | Command::SkipRevert => {
                format!("CALL apply_{}({apply}, 'model')", command.name())
            }
            Command::Cutover => format!("CALL apply_cutover({apply}, NULL, 'model')"),
            Command::CutoverAll => {
                format!(r#"CALL apply_cutover({apply}, '{{"all": true}}', 'model')"#)
            }
            Command::Revert => format!("CALL apply_revert({apply}, NULL, 'model')"),
            Command::RevertLast => {
                let at = last_open.unwrap_or(0);
                format!(r#"CALL apply_revert({apply}, '{{"deployments": ["d{at}"]}}', 'model')"#)
            }
        };
        let row = self.call(call).await?.expect("a command answers one row");
        Ok(row.get("status"))
    }

    /// What a claim of this kind would hand out, by what the view says.
    pub async fn next_by_view(&mut self, claim: Claim) -> Option<u64> {
        let claim = match claim {
            Claim::Copy => "copy",
            Claim::Cutover => "cutover",
        };
        let query = format!(
            "SELECT operation_id FROM operation_claimable WHERE apply_id = {{apply}} AND claim = '{claim}'
              ORDER BY claimable_at, operation_id LIMIT 1"
        );
        let rows = self.rows(&query).await.expect("operation_claimable");
        rows.first().map(|row| row.get(0))
    }

    pub async fn look(&mut self) -> Result<Seen, sqlx::Error> {
        let rows = self
            .rows(
                "SELECT s.state, l.operation_id IS NOT NULL AS leased
                   FROM operation_status AS s
                   LEFT JOIN lease_status AS l ON l.operation_id = s.operation_id
                  WHERE s.apply_id = {apply} ORDER BY s.position",
            )
            .await?;
        let states = rows.iter().map(|row| row.get("state")).collect();
        let leased = rows.iter().map(|row| row.get("leased")).collect();

        let first = self.operations[0];
        let position = |id: u64| usize::try_from(id - first).expect("a small number");
        let claimable = self
            .rows("SELECT operation_id, CAST(claim AS CHAR) FROM operation_claimable WHERE apply_id = {apply}")
            .await?
            .iter()
            .map(|row| (position(row.get(0)), row.get(1)))
            .collect();
        let blocked = self
            .rows(
                "SELECT operation_id, gate, blocker_operation_id, reason FROM operation_blocked
                  WHERE apply_id = {apply}",
            )
            .await?
            .iter()
            .map(|row| {
                let reason: Option<String> = row.get("reason");
                assert!(
                    reason.is_some_and(|reason| reason.ends_with('.')),
                    "one sentence"
                );
                let blocker: Option<u64> = row.get("blocker_operation_id");
                let gate: String = row.get("gate");
                (position(row.get(0)), (gate, blocker.map(position)))
            })
            .collect();
        let apply_state = self
            .rows("SELECT state FROM apply_status WHERE apply_id = {apply}")
            .await?[0]
            .get(0);
        let requests = self
            .rows(
                "SELECT CAST(command AS CHAR), CAST(status AS CHAR) FROM control_request_log
                  WHERE apply_id = {apply} ORDER BY request_id",
            )
            .await?
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect();
        let inconsistent = self.rows("SELECT COUNT(*) FROM consistency").await?[0].get(0);
        Ok(Seen {
            states,
            leased,
            claimable,
            blocked,
            apply_state,
            requests,
            inconsistent,
        })
    }

    /// As text, not prepared: where other tests install meanwhile, the server may give a prepared one up (1615).
    async fn rows(&mut self, query: &str) -> Result<Vec<MySqlRow>, sqlx::Error> {
        let query = query.replace("{apply}", &self.apply.to_string());
        sqlx::raw_sql(AssertSqlSafe(query))
            .fetch_all(&mut self.session)
            .await
    }

    /// Takes the unsettled rest out of the way of the next rollout.
    pub async fn remove(mut self) -> Result<MySqlConnection, sqlx::Error> {
        for table in ["operation_live", "table_hold"] {
            sqlx::query(AssertSqlSafe(format!(
                "DELETE FROM {table} WHERE apply_id = ?"
            )))
            .bind(self.apply)
            .execute(&mut self.session)
            .await?;
        }
        sqlx::query("UPDATE apply SET finished_at = UTC_TIMESTAMP(6) WHERE apply_id = ?")
            .bind(self.apply)
            .execute(&mut self.session)
            .await?;
        Ok(self.session)
    }
}
