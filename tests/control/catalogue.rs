//! Every public procedure with arguments of the right kind: for tests that walk all of them.

use serde_json::{Value, json};

use crate::support::control::{Argument, arguments};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    Dba,
    Driver,
    Test,
}

/// What an argument is, for those who pass something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Names one thing that there is.
    Id,
    /// A number within bounds.
    Number,
    /// Names a thing.
    Name,
    /// Any text, for people.
    Words,
    /// A lease token.
    Token,
    /// DDL.
    Statements,
    /// JSON, or NULL.
    Json,
}

pub struct Procedure {
    pub name: &'static str,
    pub caller: Caller,
    pub kinds: &'static [Kind],
    pub arguments: Vec<Argument>,
}

/// With `apply`, `operation` and `token` where a procedure takes such a thing.
pub fn procedures(apply: u64, operation: u64, token: &str) -> Vec<Procedure> {
    use Caller::{Dba, Driver, Test};
    use Kind::{Id, Json, Name, Number, Statements, Token, Words};
    let null = Value::Null;
    let mut all = Vec::new();
    let mut add = |name, caller, kinds, arguments: &[Argument]| {
        all.push(Procedure {
            name,
            caller,
            kinds,
            arguments: arguments.to_vec(),
        });
    };
    add(
        "deployment_register",
        Dba,
        &[Name, Number, Name, Number, Json],
        arguments!["d9", 9u64, "db9.example", 3309u64, json!({"cell": "c9"})],
    );
    add("deployment_remove", Dba, &[Name], arguments!["d2"]);
    add(
        "apply_submit",
        Dba,
        &[Name, Statements, Json],
        arguments!["shop", "DROP TABLE junk", json!({"deployments": ["d1"]})],
    );
    for name in [
        "apply_stop",
        "apply_start",
        "apply_cancel",
        "apply_release",
        "apply_skip_revert",
    ] {
        add(name, Dba, &[Id, Words], arguments![apply, "why"]);
    }
    for name in ["apply_cutover", "apply_revert"] {
        add(
            name,
            Dba,
            &[Id, Json, Words],
            arguments![apply, null.clone(), "why"],
        );
    }
    add(
        "apply_throttle",
        Dba,
        &[Id, Number, Words],
        arguments![apply, 3u64, "why"],
    );
    add(
        "operation_release_lease",
        Dba,
        &[Id, Words],
        arguments![operation, "why"],
    );
    add(
        "setting_set",
        Dba,
        &[Name, Number],
        arguments!["lease_ttl_seconds", 60u64],
    );
    add(
        "history_purge",
        Dba,
        &[Number, Number],
        arguments![1000u64, 10u64],
    );

    add(
        "driver_register",
        Driver,
        &[Name, Name, Number, Json],
        arguments!["alpha", "1.0", 1u64, null.clone()],
    );
    for name in ["operation_claim_copy", "operation_claim_cutover"] {
        add(
            name,
            Driver,
            &[Name, Json],
            arguments!["alpha", null.clone()],
        );
    }
    add(
        "operation_heartbeat",
        Driver,
        &[Id, Token, Json, Json],
        arguments![operation, token, json!({"rows_copied": 1}), json!({"w": 1})],
    );
    add(
        "operation_tend",
        Driver,
        &[Name, Json],
        arguments!["alpha", null.clone()],
    );
    add(
        "operation_tended",
        Driver,
        &[Id, Token, Json, Number],
        arguments![operation, token, null.clone(), 0u64],
    );
    let beats = json!([{"operation_id": operation, "lease_token": token}]);
    add(
        "driver_heartbeat",
        Driver,
        &[Name, Json],
        arguments!["alpha", beats],
    );
    for name in ["operation_arrive", "operation_swapped"] {
        add(
            name,
            Driver,
            &[Id, Token, Json],
            arguments![operation, token, null.clone()],
        );
    }
    for name in [
        "operation_begin_cutover",
        "operation_complete",
        "operation_begin_revert",
        "operation_reverted",
        "operation_stopped",
        "operation_cancelled",
        "operation_release",
    ] {
        add(name, Driver, &[Id, Token], arguments![operation, token]);
    }
    add(
        "operation_fail",
        Driver,
        &[Id, Token, Words, Number],
        arguments![operation, token, "lost", 1u64],
    );
    add(
        "operation_age",
        Test,
        &[Id, Number],
        arguments![operation, 0u64],
    );
    all
}

/// What a DBA may ask of an apply.
pub fn commands(apply: u64) -> impl Iterator<Item = Procedure> {
    procedures(apply, 0, "")
        .into_iter()
        .filter(|procedure| procedure.name.starts_with("apply_") && procedure.kinds[0] == Kind::Id)
}

pub const VIEWS: [&str; 15] = [
    "apply_status",
    "operation_status",
    "task_status",
    "operation_claimable",
    "operation_blocked",
    "operation_waiting",
    "lease_status",
    "driver_status",
    "deployment_status",
    "control_request_log",
    "event_log",
    "health",
    "consistency",
    "object_version",
    "setting_status",
];
