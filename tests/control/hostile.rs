//! Case 94: what nobody may pass.

use serde_json::{Value, json};

use crate::catalogue::{Kind, Procedure, procedures};
use crate::support::control::{Argument, Fleet, arguments, refused};

/// What somebody might pass instead, by what is asked for. None of it may change anything.
fn hostile(kind: Kind) -> Vec<Argument> {
    match kind {
        Kind::Id => arguments![
            Value::Null,
            0i64,
            -1i64,
            i64::MIN,
            i64::MAX,
            u64::MAX,
            "",
            "x",
            "-1",
            "99999999999999999999999",
            "1e400",
            "1x",
            "1.5",
            "NULL"
        ]
        .to_vec(),
        Kind::Number => arguments![
            -1i64,
            i64::MIN,
            i64::MAX,
            u64::MAX,
            "",
            "x",
            "1x",
            "1.5",
            "-0.1",
            "0x10",
            "99999999999999999999999",
            "٣",
            "true"
        ]
        .to_vec(),
        Kind::Name => {
            arguments![Value::Null, "", " ", "\t", "a\0b", "a\nb", "n".repeat(300)].to_vec()
        }
        Kind::Token => arguments![
            Value::Null,
            "",
            " ",
            "' OR '1'='1",
            "\0",
            "x",
            "%",
            "%%%%%%%%-%",
            "00000000-0000-0000-0000-000000000000",
            "\u{1F41B}"
        ]
        .to_vec(),
        Kind::Statements => arguments![
            Value::Null,
            "",
            "'",
            "\0",
            "[",
            "[]",
            "{}",
            "[[]]",
            "DROP DATABASE shop",
            "SELECT SLEEP(9)",
            "-- DROP TABLE junk",
            "DROP TABLE junk; DROP TABLE other",
            "ALTER TABLE `` ADD a INT",
            "/*!50000 DROP TABLE junk */",
            "DROP TABLE junk\0",
            "DROP TABLE `ju\0nk`",
            "DROP /* \0 */ TABLE junk"
        ]
        .to_vec(),
        Kind::Json => arguments![
            "",
            "{",
            "[1",
            "{\"a\":}",
            "{\"a\": 1}",
            "[]",
            "7",
            "\"x\"",
            "true",
            "'{}'",
            "\0",
            "NULL",
            "{\"deployments\": 7}",
            "{\"all\": \"yes\"}",
            "[{\"operation_id\": \"x\"}]",
            format!("[{}]", "[".repeat(200))
        ]
        .to_vec(),
        Kind::Words => Vec::new(),
    }
}

/// More than a megabyte.
fn endless(kind: Kind) -> Vec<Argument> {
    let megabyte = "x".repeat(1_048_577);
    match kind {
        Kind::Number => Vec::new(),
        Kind::Json => arguments![format!("\"{megabyte}\""), megabyte].to_vec(),
        Kind::Id | Kind::Name | Kind::Token | Kind::Statements | Kind::Words => {
            arguments![megabyte].to_vec()
        }
    }
}

/// What is no attack on this procedure, but one of its good values.
fn is_good(procedure: &Procedure, position: usize, value: &Argument) -> bool {
    let text = match value {
        Argument::Null => "NULL",
        Argument::Text(text) => text.as_str(),
        Argument::Integer(_) | Argument::Natural(_) => "",
    };
    match (procedure.name, position) {
        // Checkpoints, and what is told of a swap, are the engine's own affair, if they are JSON at all.
        ("operation_heartbeat", 3) | ("operation_arrive" | "operation_swapped", 2) => {
            text.len() < 1_000_000 && serde_json::from_str::<Value>(text).is_ok()
        }
        ("driver_heartbeat", 1) => text == "[]",
        // Labels are whatever who registers calls them.
        ("deployment_register", 4) => text == "{\"all\": \"yes\"}",
        // Tests may age by whatever they like.
        ("operation_age", 1) => true,
        // Never an error for a lost lease.
        ("operation_release" | "operation_tended", 1) => !matches!(text, "" | "NULL"),
        ("operation_tended", 0) => true,
        _ => false,
    }
}

/// Sessions that see text and numbers differently.
const SESSIONS: [&str; 4] = [
    "SET SESSION sql_mode = DEFAULT",
    "SET SESSION sql_mode = ''",
    "SET SESSION sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES'",
    "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci",
];

/// Case 94.
#[tokio::test]
async fn hostile_arguments_are_refused_and_change_nothing() {
    let fleet = Fleet::of(2).await;
    // Something for each command to bite on.
    let options = json!({"cutover_policy": "parallel", "revert_window_seconds": 600, "revert_scope": "apply", "on_failure": "pause", "deployments": ["d1", "d2"]});
    let apply = fleet.submit(options).await;
    let [o1, o2] = apply.all();
    let window = fleet.swap(o1).await;
    fleet.park(o2).await;
    assert_eq!(
        fleet.states(&apply).await,
        ["revert_window", "waiting_for_cutover"]
    );

    let mut wrong = Vec::new();
    for setting in SESSIONS {
        let mut session = fleet.session().await;
        session.run(setting).await.expect("a setting");
        let before = everything(&fleet, &[o1, o2]).await;
        for procedure in procedures(apply.id, o1, &window.token) {
            for (position, kind) in procedure.kinds.iter().enumerate() {
                let mut values = hostile(*kind);
                // How long a text is, every session sees alike.
                if setting == SESSIONS[0] {
                    values.extend(endless(*kind));
                }
                for value in values {
                    if is_good(&procedure, position, &value) {
                        continue;
                    }
                    let mut arguments = procedure.arguments.clone();
                    arguments[position] = value.clone();
                    let outcome = session.call(procedure.name, &arguments).await;
                    let shown: String = format!("{value:?}").chars().take(60).collect();
                    let what = format!(
                        "{setting}: {} with {shown} as argument {}",
                        procedure.name,
                        position + 1
                    );
                    match outcome {
                        Ok(rows) => wrong.push(format!("{what}: accepted, {} rows", rows.len())),
                        Err(refusal) => {
                            let ours = (50000..52000).contains(&refusal.number);
                            // Not an integer, or out of range of one; not JSON.
                            let servers =
                                [1264, 1265, 1292, 1366, 1367, 1406, 3140, 3141, 3143, 3157]
                                    .contains(&refusal.number);
                            if !ours && !servers {
                                wrong.push(format!("{what}: {refusal:?}"));
                            }
                        }
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert_eq!(everything(&fleet, &[o1, o2]).await, before, "{setting}");
    }
    fleet.beat(&window).await;
}

async fn everything(fleet: &Fleet, operations: &[u64]) -> Vec<String> {
    let mut everything = fleet.trace().await;
    for operation in operations {
        everything.extend(fleet.everything_of(*operation).await);
    }
    let settings = "SELECT CONCAT_WS(' ', s.name, s.value) FROM setting AS s ORDER BY s.name";
    everything.extend(fleet.sql().await.texts(settings, &[]).await);
    let deployments = "SELECT CONCAT_WS(' ', d.deployment, d.position, d.host, d.port, CAST(d.labels AS CHAR) COLLATE utf8mb4_0900_bin) FROM deployment AS d ORDER BY d.position";
    everything.extend(fleet.sql().await.texts(deployments, &[]).await);
    everything
}

/// Case 94: NULL for every argument, one at a time and all at once.
#[tokio::test]
async fn null_is_refused_wherever_something_is_needed() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"deployments": ["d1"]})).await;
    let [o1] = apply.all();
    let claim = fleet.run(o1).await;
    let before = everything(&fleet, &[o1]).await;
    let mut session = fleet.session().await;
    for procedure in procedures(apply.id, o1, &claim.token) {
        if matches!(procedure.name, "history_purge" | "operation_age") {
            continue;
        }
        let nothing = vec![Argument::Null; procedure.arguments.len()];
        let outcome = session.call(procedure.name, &nothing).await;
        let refusal = outcome.map(|rows| rows.len()).expect_err(procedure.name);
        assert!(
            (50000..52000).contains(&refusal.number),
            "{}: {refusal:?}",
            procedure.name
        );
    }
    assert_eq!(everything(&fleet, &[o1]).await, before);
}

/// Quotes and any script are good in a text for people, and are kept as they are.
#[tokio::test]
async fn words_are_kept_as_they_were_given() {
    let words = "it's \"quoted\" `so` \\ 100% _; DROP TABLE apply; -- ü 漢 \u{1F41B}\n\t*/";
    let fleet = Fleet::of(2).await;
    for setting in SESSIONS {
        let mut session = fleet.session().await;
        session.run(setting).await.expect("a setting");
        let apply = session
            .call_row(
                "apply_submit",
                arguments![
                    "shop",
                    format!(
                        "ALTER TABLE {} ADD c INT COMMENT 'it''s \u{1F41B}'",
                        fleet.new_table()
                    ),
                    json!({"note": words})
                ],
            )
            .await
            .expect("accepted")
            .id("apply_id");
        session
            .command("apply_stop", arguments![apply, words])
            .await
            .expect("stop");
        let kept = session
            .texts(
                "SELECT r.reason FROM control_request_log AS r WHERE r.apply_id = ?",
                arguments![apply],
            )
            .await;
        assert_eq!(kept, [words], "{setting}");
        session
            .command("apply_start", arguments![apply, Value::Null])
            .await
            .expect("start");
        let claim = session
            .claim_copy("it's \"me\" \u{1F41B}")
            .await
            .unwrap()
            .expect("o1");
        assert!(
            claim.tasks[0]["statement"]
                .as_str()
                .unwrap()
                .ends_with("'it''s \u{1F41B}'")
        );
        session.fail(&claim, words, 0).await.expect("fail");
        assert_eq!(
            fleet.column(claim.operation, "error").await,
            words,
            "{setting}"
        );
        assert_eq!(
            fleet.column(claim.operation, "driver").await,
            "it's \"me\" \u{1F41B}"
        );
        let long = "w".repeat(1025);
        let apply = fleet.submit(Value::Null).await;
        refused(
            50001,
            session
                .command("apply_stop", arguments![apply.id, long])
                .await,
        );
        fleet.cancel(&apply).await;
    }
}
/// A message of the server would end at a NUL, and a terminal obeys an escape.
#[tokio::test]
async fn a_control_character_is_refused_in_names_and_reasons() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(Value::Null).await;
    let [o1, _] = apply.all();
    let claim = fleet.run(o1).await;
    let before = everything(&fleet, &[o1]).await;
    for text in ["a\0b", "\0", "a\u{1b}[2Jb", "a\u{7f}b"] {
        let mut sql = fleet.sql().await;
        for (procedure, arguments) in [
            ("apply_stop", arguments![apply.id, text].to_vec()),
            ("apply_cancel", arguments![apply.id, text].to_vec()),
            ("apply_throttle", arguments![apply.id, 3u64, text].to_vec()),
            ("operation_release_lease", arguments![o1, text].to_vec()),
            (
                "apply_submit",
                arguments![
                    "shop",
                    "ALTER TABLE t_name ADD c INT",
                    json!({"name": text})
                ]
                .to_vec(),
            ),
            (
                "apply_submit",
                arguments![
                    "shop",
                    "ALTER TABLE t_note ADD c INT",
                    json!({"note": text})
                ]
                .to_vec(),
            ),
        ] {
            let refusal = refused(50001, sql.call(procedure, &arguments).await);
            assert!(
                refusal.message.contains("; pass "),
                "{procedure} with {text:?}: the next step is said: {refusal:?}"
            );
        }
    }
    assert_eq!(everything(&fleet, &[o1]).await, before);

    // What a broken server has said does not keep its failure from being reported.
    let mut sql = fleet.sql().await;
    sql.fail(&claim, "lost\0 it\u{1b}\n\tat 5", 0)
        .await
        .expect("a failure");
    drop(sql);
    assert_eq!(fleet.column(o1, "error").await, "lost? it?\n\tat 5");
}

/// No server takes such a statement, and nobody could name such a label.
#[tokio::test]
async fn a_nul_is_refused_in_statements_and_labels() {
    let fleet = Fleet::of(1).await;
    let before = everything(&fleet, &[]).await;
    for statement in [
        "ALTER TABLE t ADD c INT\0",
        "ALTER TABLE `a\0b` ADD c INT",
        "ALTER TABLE t ADD c INT COMMENT '\0'",
    ] {
        for sent in [json!([statement]), json!(statement)] {
            let sent = sent.as_str().map_or(sent.to_string(), str::to_owned);
            let refusal = refused(50001, fleet.try_submit(&sent, Value::Null).await);
            assert!(
                refusal.message.contains("has a NUL in it; pass "),
                "{refusal:?}"
            );
        }
    }
    for labels in [
        json!({"region": "e\0u"}),
        json!({"re\0gion": "eu"}),
        json!({"region": "eu", "cell": "\u{1b}[2J"}),
    ] {
        let register = arguments!["d9", 9u64, "db9.example", 3306u64, labels];
        let refusal = fleet.refuses(50001, "deployment_register", register).await;
        assert!(refusal.message.contains("; pass plain text"), "{refusal:?}");
    }
    assert_eq!(everything(&fleet, &[]).await, before);
}

/// Ids are unsigned: one beyond what a signed number holds is not found, like any other.
#[tokio::test]
async fn an_id_of_any_size_is_not_found() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let [o1] = apply.all();
    let claim = fleet.run(o1).await;
    for procedure in procedures(apply.id, o1, &claim.token) {
        for (position, _) in procedure
            .kinds
            .iter()
            .enumerate()
            .filter(|(_, kind)| matches!(kind, Kind::Id))
        {
            for id in [
                "9223372036854775807",
                "9223372036854775808",
                "9999999999999999999",
                "18446744073709551615",
            ] {
                let mut arguments = procedure.arguments.clone();
                arguments[position] = id.into();
                let outcome = fleet.sql().await.call(procedure.name, &arguments).await;
                // A lease that is gone is an answer there.
                if procedure.name != "operation_tended" || outcome.is_err() {
                    refused(50002, outcome);
                }
            }
        }
    }
    fleet.beat(&claim).await;
}

/// SPEC.md section 2: times are the server's own. With `SET timestamp` a session has a clock of its own, by which a live lease
/// would have run out long ago, and a claim would begin with one that has.
#[tokio::test]
async fn a_session_with_a_clock_of_its_own_is_refused_by_every_procedure() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"deployments": ["d1"]})).await;
    let claim = fleet.run(apply.operations[0]).await;
    let before = (
        fleet.trace().await,
        fleet.everything_of(claim.operation).await,
    );
    let mut session = fleet.session().await;
    for offset in ["+ 3600", "- 3600", "+ 30"] {
        for procedure in procedures(claim.apply, claim.operation, &claim.token) {
            session
                .run(&format!(
                    "SET SESSION timestamp = UNIX_TIMESTAMP(SYSDATE(6)) {offset}"
                ))
                .await
                .unwrap();
            let outcome = session.call(procedure.name, &procedure.arguments).await;
            let refusal = refused(50001, outcome);
            assert!(
                refusal.message.contains("timestamp of this session is 20")
                    && refusal
                        .message
                        .ends_with("SET timestamp = DEFAULT and call again"),
                "{}: {refusal:?}",
                procedure.name
            );
        }
    }
    let after = (
        fleet.trace().await,
        fleet.everything_of(claim.operation).await,
    );
    assert_eq!(after, before);

    session
        .run("SET SESSION timestamp = DEFAULT")
        .await
        .unwrap();
    let beat = session.heartbeat(&claim, Value::Null, Value::Null).await;
    assert_eq!(beat.unwrap().state, "running");
    let nothing = session.claim_copy("beta").await.unwrap();
    assert!(nothing.is_none(), "{nothing:?}");
}
