//! Case 66: a caller's transaction is its own.

use serde_json::json;

use crate::catalogue::procedures;
use crate::support::control::{Claim, Fleet, Session, arguments, refused};
use crate::support::eventually;

/// Something that the caller has written and not committed.
async fn write(session: &mut Session, id: u64) {
    session
        .rows("INSERT INTO caller_work (id) VALUES (?)", arguments![id])
        .await;
}

async fn written(session: &mut Session) -> Vec<String> {
    session
        .texts(
            "SELECT CAST(w.id AS CHAR) FROM caller_work AS w ORDER BY w.id",
            &[],
        )
        .await
}

/// A fleet with a leased operation, and a table of the caller's own.
async fn with_work() -> (Fleet, Claim) {
    let fleet = Fleet::of(2).await;
    let mut sql = fleet.sql().await;
    sql.run("CREATE TABLE caller_work (id BIGINT PRIMARY KEY)")
        .await
        .unwrap();
    drop(sql);
    let apply = fleet.submit(json!({"deployments": ["d1"]})).await;
    let claim = fleet.run(apply.operations[0]).await;
    (fleet, claim)
}

#[tokio::test]
async fn an_open_transaction_is_refused_and_stays_as_it_was() {
    let (fleet, claim) = with_work().await;
    let before = (
        fleet.trace().await,
        fleet.everything_of(claim.operation).await,
    );
    let mut observer = fleet.session().await;
    for begin in ["START TRANSACTION", "SET autocommit = 0"] {
        for procedure in procedures(claim.apply, claim.operation, &claim.token) {
            let mut session = fleet.borrow_session().await;
            session.run(begin).await.unwrap();
            write(&mut session, 1).await;

            let outcome = session.call(procedure.name, &procedure.arguments).await;
            let refusal = refused(50003, outcome);
            assert!(refusal.message.contains("transaction"), "{refusal:?}");
            assert!(
                written(&mut observer).await.is_empty(),
                "{}: committed",
                procedure.name
            );
            assert_eq!(
                written(&mut session).await,
                ["1"],
                "{}: rolled back",
                procedure.name
            );
            write(&mut session, 2).await;
            session.run("ROLLBACK").await.unwrap();
            assert!(written(&mut session).await.is_empty(), "{}", procedure.name);
            session.run("SET autocommit = 1").await.unwrap();
            fleet.return_session(session);
        }
    }
    let after = (
        fleet.trace().await,
        fleet.everything_of(claim.operation).await,
    );
    assert_eq!(after, before);
}

/// A bad argument in an open transaction: whichever refusal comes first, the transaction is as it was.
#[tokio::test]
async fn a_refusal_of_an_argument_leaves_an_open_transaction_too() {
    let (fleet, claim) = with_work().await;
    let mut session = fleet.session().await;
    for procedure in procedures(4_000_000_000, 4_000_000_000, "") {
        session.run("START TRANSACTION").await.unwrap();
        write(&mut session, 1).await;
        let outcome = session.call(procedure.name, &procedure.arguments).await;
        assert!(outcome.is_err(), "{}", procedure.name);
        assert_eq!(written(&mut session).await, ["1"], "{}", procedure.name);
        session.run("ROLLBACK").await.unwrap();
        assert!(written(&mut session).await.is_empty(), "{}", procedure.name);
    }
    fleet.beat(&claim).await;
}

/// With autocommit off and nothing begun, calls work, leave nothing open, and what comes after is the caller's own.
#[tokio::test]
async fn with_autocommit_off_each_call_is_a_transaction_of_its_own() {
    let (fleet, claim) = with_work().await;
    let mut observer = fleet.session().await;
    let mut session = fleet.session().await;
    session.run("SET autocommit = 0").await.unwrap();
    // The server refuses it within a transaction.
    let if_none_is_open = "SET TRANSACTION READ WRITE";
    session.run("START TRANSACTION").await.unwrap();
    refused(1568, session.run(if_none_is_open).await);
    session.run("ROLLBACK").await.unwrap();
    for procedure in procedures(claim.apply, claim.operation, &claim.token) {
        let outcome = session.call(procedure.name, &procedure.arguments).await;
        if let Err(refusal) = &outcome {
            assert_ne!(refusal.number, 50003, "{}: {refusal:?}", procedure.name);
        }
        let outcome = session.run(if_none_is_open).await;
        outcome.unwrap_or_else(|refusal| {
            panic!("{} leaves a transaction open: {refusal:?}", procedure.name)
        });

        write(&mut session, 1).await;
        assert!(
            written(&mut observer).await.is_empty(),
            "{}",
            procedure.name
        );
        session.run("ROLLBACK").await.unwrap();
        assert!(written(&mut session).await.is_empty(), "{}", procedure.name);
        session.run("ROLLBACK").await.unwrap();
    }
}

/// Whether accepted or refused, a call leaves nothing behind for the caller's next transaction: isolation, access mode,
/// autocommit.
#[tokio::test]
async fn a_call_leaves_the_sessions_settings_alone() {
    let (fleet, claim) = with_work().await;
    let settings = "SELECT CONCAT_WS(' ', @@autocommit, @@transaction_isolation, @@transaction_read_only, @@sql_mode, @@time_zone,
                                      @@character_set_client, @@collation_connection, @@completion_type)";
    let mut session = fleet.session().await;
    session
        .run("SET SESSION transaction_isolation = 'SERIALIZABLE', SESSION completion_type = 'CHAIN', SESSION time_zone = '+05:30'")
        .await
        .unwrap();
    let before = session.texts(settings, &[]).await;
    // Of this very moment, unlike INNODB_TRX.
    let isolation =
        "SELECT t.isolation_level FROM performance_schema.events_transactions_current AS t
                      WHERE t.thread_id = PS_CURRENT_THREAD_ID() AND t.state = 'ACTIVE'";
    let good = procedures(claim.apply, claim.operation, &claim.token);
    let bad = procedures(4_000_000_000, 4_000_000_000, "");
    let worse = procedures(claim.apply, claim.operation, &claim.token)
        .into_iter()
        .map(|mut procedure| {
            // Refused by the look at the JSON, after the procedure has prepared its transaction.
            for (argument, kind) in procedure.arguments.iter_mut().zip(procedure.kinds) {
                if *kind == crate::catalogue::Kind::Json {
                    *argument = json!({"no such key": 1}).into();
                }
            }
            procedure
        });
    for procedure in good.into_iter().chain(bad).chain(worse) {
        let outcome = session.call(procedure.name, &procedure.arguments).await;
        assert_eq!(
            session.texts(settings, &[]).await,
            before,
            "{}: {outcome:?}",
            procedure.name
        );
        // completion_type CHAIN would have begun another one.
        session.run("BEGIN").await.unwrap();
        write(&mut session, 1).await;
        assert_eq!(
            session.texts(isolation, &[]).await,
            ["SERIALIZABLE"],
            "{}: {outcome:?}",
            procedure.name
        );
        session.run("ROLLBACK AND NO CHAIN").await.unwrap();
    }
}

/// A purge of much history is no transaction as long as all of it.
#[tokio::test]
async fn a_purge_removes_apply_by_apply_each_in_its_own_transaction() {
    let fleet = Fleet::of(1).await;
    let first = fleet.settled("completed").await;
    let second = fleet.settled("completed").await;
    let mut holder = fleet.session().await;
    holder.run("START TRANSACTION").await.unwrap();
    let lock = "SELECT a.apply_id FROM apply AS a WHERE a.apply_id = ? FOR UPDATE";
    holder.rows(lock, arguments![second.id]).await;
    let mut session = fleet.session().await;
    let mut observer = fleet.session().await;
    let left = "SELECT COUNT(*) FROM apply_status AS a WHERE a.apply_id = ?";
    let purge = async {
        let bounds = arguments![0u64, 1000u64];
        session.call_row("history_purge", bounds).await
    };
    let look = async {
        let is_gone = async || observer.number(left, arguments![first.id]).await == 0;
        let deadline = std::time::Duration::from_secs(30);
        eventually("the first one is gone for everybody", deadline, is_gone).await;
        holder.run("ROLLBACK").await.unwrap();
    };
    let (purged, ()) = tokio::join!(purge, look);
    assert!(purged.unwrap().number("rows_removed") > 2);
    assert_eq!(observer.number(left, arguments![second.id]).await, 0);
}

/// It holds under every isolation level, and for a session that only reads.
#[tokio::test]
async fn a_rollout_goes_its_way_whatever_the_session_has_set() {
    for setting in [
        "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET SESSION TRANSACTION READ ONLY",
        "SET autocommit = 0",
        "SET SESSION completion_type = 'CHAIN'",
        "SET SESSION completion_type = 'RELEASE'",
        "SET SESSION time_zone = '-11:00'",
        "SET SESSION sql_mode = ''",
        "SET SESSION sql_mode = 'ANSI'",
        "SET SESSION sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,IGNORE_SPACE,NO_BACKSLASH_ESCAPES,HIGH_NOT_PRECEDENCE,PAD_CHAR_TO_FULL_LENGTH'",
        "SET SESSION sql_mode = 'TRADITIONAL,NO_UNSIGNED_SUBTRACTION,REAL_AS_FLOAT,TIME_TRUNCATE_FRACTIONAL'",
        "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci",
        "SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci",
        "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
        "SET NAMES latin1",
        "SET SESSION sql_auto_is_null = 1",
        "SET SESSION sql_safe_updates = 1",
        "SET SESSION sql_select_limit = 1",
        "SET SESSION max_sp_recursion_depth = 0, SESSION group_concat_max_len = 4",
        "SET SESSION optimizer_switch = 'derived_merge=off'",
        "SET SESSION explicit_defaults_for_timestamp = 0",
        "SET SESSION sql_require_primary_key = 1, SESSION sql_generate_invisible_primary_key = 1",
        "SET SESSION auto_increment_increment = 7, SESSION auto_increment_offset = 3",
        "SET SESSION div_precision_increment = 0",
        "SET SESSION lc_time_names = 'de_DE', SESSION lc_messages = 'en_US'",
        "SET SESSION foreign_key_checks = 0, SESSION unique_checks = 0",
        "SET SESSION innodb_lock_wait_timeout = 1",
        "SET SESSION max_join_size = 1000, SESSION sql_big_selects = 0",
        "SET SESSION default_collation_for_utf8mb4 = utf8mb4_general_ci",
        // No condition is kept for a handler to run on.
        "SET SESSION max_error_count = 0",
    ] {
        let fleet = Fleet::of(3).await;
        let mut session = fleet.session().await;
        if let Err(refusal) = session.run(setting).await {
            // Versions differ in what there is to set.
            assert!(
                [1193, 1231, 1286].contains(&refusal.number),
                "{setting}: {refusal:?}"
            );
            continue;
        }
        a_whole_rollout(&mut session, setting).await;
        fleet.check().await;
        fleet.check_history().await;
    }
}

/// By one session: submit, copy, park, stop and start, a retry, swaps with a window, a revert, throttle, views, purge.
async fn a_whole_rollout(session: &mut Session, setting: &str) {
    macro_rules! ok {
        ($call:expr) => {
            $call
                .await
                .unwrap_or_else(|refusal| panic!("{setting}: {refusal:?}"))
        };
    }
    let options = json!({"name": "sprïng", "cutover_policy": "barrier", "max_copies": 2, "revert_window_seconds": 600, "revert_scope": "apply", "on_failure": "pause"});
    let submit = arguments!["shop", "ALTER TABLE `örders` ADD c INT", options];
    let apply = ok!(session.call_row("apply_submit", submit)).id("apply_id");
    let nobody = arguments![apply + 1, "no such apply"];
    let outcome = session.command("apply_cancel", nobody).await;
    assert_eq!(outcome.expect_err(setting).number, 50002, "{setting}");
    let eu = json!({"labels": {"parity": "odd"}});
    let register = arguments!["älpha", "1.0", 1u64, eu.clone()];
    ok!(session.call("driver_register", register));
    let first = ok!(session.claim("operation_claim_copy", "älpha", eu)).expect("o1");
    let progress =
        json!({"phase": "copy", "rows_copied": 1, "rows_total": 4, "throttled_by": "réplica"});
    ok!(session.heartbeat(&first, progress, json!({"w": "ü"})));
    ok!(session.command("apply_throttle", arguments![apply, 3u64, "peak – höur"]));
    ok!(session.command("apply_stop", arguments![apply, "peak – höur"]));
    ok!(session.report("operation_stopped", &first));
    ok!(session.command("apply_start", arguments![apply, "quiet"]));
    let first = ok!(session.claim_copy("beta")).expect("o1 again");
    assert_eq!(first.checkpoint, json!({"w": "ü"}), "{setting}");
    ok!(session.fail(&first, "löst", 1));
    for _ in 0..3 {
        let claim = ok!(session.claim_copy("beta")).expect("a copy");
        let beats = json!([{"operation_id": claim.operation, "lease_token": claim.token, "progress": {"rows_copied": 2}}]);
        let beat = ok!(session.call("driver_heartbeat", arguments!["beta", beats]));
        assert_eq!(beat[0].number("held"), 1, "{setting}");
        assert_eq!(beat[0].number("throttle_level"), 3, "{setting}");
        assert_eq!(ok!(session.arrive(&claim)), "parked", "{setting}");
    }
    let mut swapped = Vec::new();
    for _ in 0..3 {
        let claim = ok!(session.claim_cutover("beta")).expect("a swap");
        let state = ok!(session.swapped(&claim));
        assert_eq!(state, "revert_window", "{setting}");
        swapped.push(claim);
    }
    let some = arguments![apply, json!({"deployments": ["d3"]}), "slöw"];
    ok!(session.command("apply_revert", some));
    for report in ["operation_begin_revert", "operation_reverted"] {
        ok!(session.report(report, &swapped[2]));
    }
    ok!(session.command("apply_skip_revert", arguments![apply, "good"]));
    for claim in &swapped[..2] {
        // The second time it is settled.
        for _ in 0..2 {
            ok!(session.report("operation_complete", claim));
        }
    }
    for view in crate::catalogue::VIEWS {
        let query = format!("SELECT v.* FROM {view} AS v");
        ok!(session.fetch(&query, &[]));
        // With autocommit off, reading began a transaction.
        ok!(session.run("ROLLBACK AND NO CHAIN NO RELEASE"));
    }
    ok!(session.call("history_purge", arguments![0u64, 1000u64]));
}
