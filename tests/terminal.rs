//! Commands that end, on a terminal: how wide they write, what they ask, what they exit with.

mod support;

use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use support::terminal::Terminal;
use support::{TestDatabase, one};

const LONG: &str = "db-eu-1.example:3306: the server has said at some length what it does not like about this statement, and it \
                    goes on until no table would hold it beside seven other columns";

/// An apply whose only operation a driver has claimed; a session, the operation and its token.
async fn claimed() -> (TestDatabase, MySqlConnection, u64, String) {
    let database = TestDatabase::fresh().await;
    database.register_deployments(1).await;
    let mut session = database.connect().await;
    for statement in [
        "CALL apply_submit('shop', 'ALTER TABLE orders ADD note INT', '{\"name\": \"orders-note\"}')",
        "CALL driver_register('driver-1', '0.1.0', 1, NULL)",
    ] {
        session.execute(statement).await.expect(statement);
    }
    let claim = sqlx::raw_sql("CALL operation_claim_copy('driver-1', NULL)")
        .fetch_one(&mut session)
        .await
        .expect("a claim");
    let operation = claim.get_unchecked("operation_id");
    let token = claim.get_unchecked("lease_token");
    (database, session, operation, token)
}

/// An apply that has failed with a long reason.
async fn failed() -> TestDatabase {
    let (database, mut session, operation, token) = claimed().await;
    session
        .execute(AssertSqlSafe(format!(
            "CALL operation_fail({operation}, '{token}', '{LONG}', 0)"
        )))
        .await
        .expect("operation_fail");
    database
}

/// It is there to be copied.
#[tokio::test]
async fn a_call_that_doctor_names_is_in_one_piece_in_80_columns() {
    let (database, mut session, operation, _) = claimed().await;
    session
        .execute(AssertSqlSafe(format!(
            "CALL operation_age({operation}, 75)"
        )))
        .await
        .expect("operation_age");
    let mut terminal = Terminal::start(&database, &["doctor"], 80, 40);
    terminal.says("something is wrong").await;
    assert_eq!(terminal.end().await.code(), Some(1));
    let written = terminal.plain();
    let longest = written.lines().map(|line| line.chars().count()).max();
    assert!(longest <= Some(80), "{written}");
    let call = format!("operation_release_lease({operation},");
    assert!(written.contains(&call), "{written}");
}

#[tokio::test]
async fn a_long_error_stands_below_the_table_and_in_the_width_of_the_terminal() {
    let database = failed().await;
    for (arguments, columns) in [
        (&["status"][..], 80),
        (&["status", "1"], 80),
        (&["status"], 200),
        (&["why", "1"], 60),
    ] {
        let mut terminal = Terminal::start(&database, arguments, columns, 40);
        terminal.says("columns").await;
        assert!(terminal.end().await.success());
        let written = terminal.plain();
        let longest = written.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(columns.into()), "{arguments:?}: {written}");
        let words = written.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(LONG), "whole, and in one piece: {written}");
        assert_eq!(words.matches(LONG).count(), 1, "once: {written}");
    }
}

#[tokio::test]
async fn a_question_takes_no_for_an_answer_and_ctrl_c_exits_with_130() {
    let database = TestDatabase::fresh().await;
    database.register_deployments(2).await;
    let submit = [
        "submit",
        "--schema",
        "shop",
        "-e",
        "ALTER TABLE orders ADD note INT",
        "--no-preflight",
        "--cutover-policy",
        "barrier",
    ];
    for (key, code) in [("n\r", 1), ("\r", 1), ("\u{4}", 1), ("\u{3}", 130)] {
        let mut terminal = Terminal::start(&database, &submit, 80, 24);
        terminal.says("with cutover_policy barrier").await;
        terminal.says("Submit? [y/N]").await;
        terminal.press(key);
        assert_eq!(terminal.end().await.code(), Some(code), "{key:?}");
        terminal.says("nothing was submitted").await;
    }
    let applies = "SELECT COUNT(*) FROM apply_status";
    let applies: i64 = one(&mut database.connect().await, applies).await;
    assert_eq!(applies, 0);
    let mut terminal = Terminal::start(&database, &submit, 80, 24);
    terminal.says("Submit? [y/N]").await;
    terminal.press("y\r");
    assert!(terminal.end().await.success());
    terminal.says("Apply 1 (apply-1) is submitted").await;
}

#[tokio::test]
async fn statements_on_standard_input_leave_the_terminal_for_the_answer() {
    let database = TestDatabase::fresh().await;
    database.register_deployments(1).await;
    let script = "echo 'ALTER TABLE orders ADD note INT' | \"$LOCKKEEPER\" submit --schema shop --no-preflight -f -";
    for (key, code) in [("n\r", 1), ("y\r", 0)] {
        let mut terminal = Terminal::run(&database, &["sh", "-c", script], 80, 24);
        terminal.says("ALTER TABLE orders ADD note INT;").await;
        terminal.says("Submit? [y/N]").await;
        terminal.press(key);
        assert_eq!(terminal.end().await.code(), Some(code), "{key:?}");
    }
    let applies = "SELECT COUNT(*) FROM apply_status";
    let applies: i64 = one(&mut database.connect().await, applies).await;
    assert_eq!(applies, 1);
}

#[tokio::test]
async fn a_row_is_one_line_where_there_is_no_terminal() {
    let (database, mut session, operation, token) = claimed().await;
    session
        .execute(AssertSqlSafe(format!(
            "CALL operation_fail({operation}, '{token}', 'the first line\nthe second', 0)"
        )))
        .await
        .expect("operation_fail");
    let mut status = support::program();
    status
        .args(["status", "1"])
        .env("LOCKKEEPER_URL", database.url());
    let answer = support::answer(status);
    let is_whole = |line: &str| line.contains("the first line the second");
    assert!(answer.out.lines().any(is_whole), "{}", answer.out);
}

#[tokio::test]
async fn a_driver_on_a_terminal_says_that_it_runs() {
    let database = TestDatabase::fresh().await;
    let mut terminal = Terminal::start(&database, &["drive", "--until-idle"], 80, 24);
    assert!(terminal.end().await.success());
    terminal
        .says("LOCKKEEPER_LOG=info shows what it does")
        .await;
}
