//! Pages of docs/ that show what the program really answers. `LOCKKEEPER_GOLDEN=write` writes them anew.

mod support;

use std::path::PathBuf;
use std::process::Stdio;

use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use support::TestDatabase;

fn page(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name)
}

fn is_writing() -> bool {
    std::env::var_os("LOCKKEEPER_GOLDEN").is_some_and(|value| value == "write")
}

#[tokio::test]
async fn the_picture_of_the_states_is_the_transition_table() {
    let database = TestDatabase::fresh().await;
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT CAST(t.from_state AS CHAR), CAST(t.to_state AS CHAR), CAST(t.meaning AS CHAR)
           FROM operation_transition AS t
          ORDER BY t.from_state, t.to_state",
    )
    .fetch_all(&mut database.connect().await)
    .await
    .expect("operation_transition");
    let mut text = "# The states of an operation\n\nMade from the table `operation_transition`, which the database itself \
                    enforces; a test keeps it current.\n\n```mermaid\nstateDiagram-v2\n    [*] --> pending\n"
        .to_owned();
    for (from, to, _) in &rows {
        text.push_str(&format!("    {from} --> {to}\n"));
    }
    for (_, to, _) in &rows {
        let is_final = !rows.iter().any(|(from, _, _)| from == to);
        let end = format!("    {to} --> [*]\n");
        if is_final && !text.contains(&end) {
            text.push_str(&end);
        }
    }
    text.push_str("```\n\n| from | to | when |\n| --- | --- | --- |\n");
    for (from, to, meaning) in &rows {
        text.push_str(&format!("| `{from}` | `{to}` | {meaning} |\n"));
    }
    if is_writing() {
        std::fs::write(page("states.md"), &text).expect("written");
    }
    let found = std::fs::read_to_string(page("states.md")).unwrap_or_default();
    assert!(
        found == text,
        "docs/states.md is not up to date; run this test with LOCKKEEPER_GOLDEN=write"
    );
}

/// What a DBA asks, what they type, and why it helps.
const QUESTIONS: [(&str, &str, &str); 10] = [
    (
        "What is going on?",
        "SELECT apply_id, apply_name, state, completed, operations, percent, seconds_left FROM apply_status;",
        "One row for each apply, the settled ones too.",
    ),
    (
        "How far is each deployment, and how long will it take?",
        "SELECT position, deployment, state, phase, percent, rows_per_second, seconds_left FROM operation_status WHERE apply_id = 1 ORDER BY position;",
        "A driver reports every second or so.",
    ),
    (
        "Why doesn't it move?",
        "SELECT deployment, state, reason FROM operation_waiting WHERE apply_id = 1;",
        "`lockkeeper why 1` and `lockkeeper watch` say the same sentences. `operation_blocked` names the gate and the operation that shuts it.",
    ),
    (
        "What is waiting for a driver?",
        "SELECT operation_id, deployment, claim, state, claimable_at FROM operation_claimable;",
        "What any driver may take now. A lease that ran out is offered again.",
    ),
    (
        "Who works on what, and is it alive?",
        "SELECT deployment, driver, lease_epoch, heartbeat_age_seconds, stale FROM lease_status;",
        "Where nobody will come back, `CALL operation_release_lease(3, 'why');` shortens the wait.",
    ),
    (
        "Which drivers are there?",
        "SELECT driver, version, last_seen_at, operations FROM driver_status;",
        "Every driver that ever registered.",
    ),
    (
        "Is something wrong, and what do I do?",
        "SELECT severity, subject, problem, remedy FROM health\\G",
        "Empty when all is well.",
    ),
    (
        "Stop it. Now.",
        "CALL apply_stop(1, 'peak hour');",
        "Once this has returned no copy and no swap starts; what runs is stopped by its next heartbeat. `CALL apply_start(1, 'over');` resumes from the checkpoints.",
    ),
    (
        "What was asked, by whom, and what came of it?",
        "SELECT request_id, command, status, requested_by, reason, outcome FROM control_request_log WHERE apply_id = 1;",
        "A request is stored before its call returns.",
    ),
    (
        "What happened on one deployment, in order?",
        "SELECT occurred_at, actor, event, from_state, to_state, lease_epoch FROM event_log WHERE deployment = 'eu-1' ORDER BY event_id;",
        "Each move is one row, written in the transaction of the move.",
    ),
];

/// Calls of a driver that has done its work: the rules don't know the difference.
async fn rollout(session: &mut MySqlConnection) {
    let driver = "driver-1";
    for statement in [
        "CALL deployment_register('eu-1', 0, 'db-eu-1', 3306, NULL)",
        "CALL deployment_register('us-1', 1, 'db-us-1', 3306, NULL)",
        "CALL deployment_register('ap-1', 2, 'db-ap-1', 3306, NULL)",
        "CALL apply_submit('shop', 'ALTER TABLE orders MODIFY total DECIMAL(14,2)',
                           '{\"name\": \"orders-total\", \"cutover_policy\": \"barrier\", \"revert_window_seconds\": 3600}')",
        "CALL driver_register('driver-1', '0.1.0', 1, NULL)",
    ] {
        call(session, statement).await;
    }
    for (deployment, rows) in [("eu-1", 1_000_000), ("us-1", 1_000_000), ("ap-1", 615_000)] {
        let claim = sqlx::raw_sql(AssertSqlSafe(format!(
            "CALL operation_claim_copy('{driver}', NULL)"
        )))
        .fetch_one(&mut *session)
        .await
        .expect("a claim");
        let (operation, token): (u64, String) = (
            claim.get_unchecked("operation_id"),
            claim.get_unchecked("lease_token"),
        );
        let progress = serde_json::json!({
            "phase": "copy", "rows_copied": rows, "rows_total": 1_000_000, "rows_per_second": 84_000.0,
            "seconds_left": (1_000_000 - rows) / 84_000, "binlog_lag_seconds": 0.3,
        });
        call(
            session,
            &format!("CALL operation_heartbeat({operation}, '{token}', '{progress}', NULL)"),
        )
        .await;
        if deployment == "ap-1" {
            // Its driver has died a while ago.
            call(session, &format!("CALL operation_age({operation}, 75)")).await;
            break;
        }
        call(
            session,
            &format!("CALL operation_arrive({operation}, '{token}', NULL)"),
        )
        .await;
        if deployment == "eu-1" {
            let claim = sqlx::raw_sql(AssertSqlSafe(format!(
                "CALL operation_claim_cutover('{driver}', NULL)"
            )))
            .fetch_one(&mut *session)
            .await
            .expect("its turn");
            let token: String = claim.get_unchecked("lease_token");
            call(
                session,
                &format!("CALL operation_swapped({operation}, '{token}', NULL)"),
            )
            .await;
        }
    }
}

async fn call(session: &mut MySqlConnection, statement: &str) {
    session
        .execute(AssertSqlSafe(statement.to_owned()))
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// What the mysql client prints.
fn client(database: &TestDatabase, mut mysql: std::process::Command, sql: &str) -> String {
    let settings = database.settings();
    // In a batch the client takes no `\G`.
    let (sql, form) = match sql.strip_suffix("\\G") {
        Some(sql) => (sql, "--vertical"),
        None => (sql, "--table"),
    };
    let output = mysql
        .args(["--no-defaults", form, "--protocol=TCP"])
        .arg(format!("--host={}", settings.host))
        .arg(format!("--port={}", settings.port))
        .arg(format!("--user={}", settings.credentials.user))
        .args(["-e", sql, database.schema()])
        .env("MYSQL_PWD", settings.credentials.password.expose())
        .stdin(Stdio::null())
        .output()
        .expect("the mysql client runs");
    assert!(
        output.status.success(),
        "{sql}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Without what differs from run to run: digits, and the widths of columns.
fn shape(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| !line.starts_with('+'))
        .map(|line| {
            let words: Vec<String> = line
                .split_whitespace()
                .map(|word| {
                    word.chars()
                        .map(|c| if c.is_ascii_digit() { '#' } else { c })
                        .collect::<String>()
                })
                .map(|word| word.split("##").next().unwrap_or_default().to_owned())
                .collect();
            words.join(" ")
        })
        .collect()
}

#[tokio::test]
async fn ten_questions_are_answered_at_the_mysql_prompt() {
    let database = TestDatabase::fresh().await;
    let server = support::server().await;
    let tool = || server.program().and_then(|program| program.tool("mysql"));
    if tool().is_none() {
        eprintln!("no mysql client beside this server: docs/questions.md is not checked");
        return;
    }
    rollout(&mut database.connect().await).await;
    let mut text = "# Ten questions at the mysql prompt\n\n\
        Each with its one query or call, and what the mysql client printed in the middle of a rollout to three deployments:\n\
        `eu-1` has swapped and can be reverted for an hour, `us-1` is at the barrier, and the driver that copied on `ap-1` has\n\
        died. Made by a test (`tests/docs.rs`) on a real control database, which checks that it is still so; the test plays the\n\
        driver: it makes a driver's calls, with no rows behind them.\n"
        .to_owned();
    for (number, (question, sql, remark)) in (1..).zip(QUESTIONS) {
        let answer = client(&database, tool().expect("it was there"), sql);
        text.push_str(&format!(
            "\n## {number}. {question}\n\n```\nmysql> {sql}\n{}\n```\n\n{remark}\n",
            answer.trim_end()
        ));
    }
    if is_writing() {
        std::fs::write(page("questions.md"), &text).expect("written");
    }
    let found = std::fs::read_to_string(page("questions.md")).unwrap_or_default();
    assert_eq!(
        shape(&found),
        shape(&text),
        "docs/questions.md is not up to date"
    );
}

/// The README's picture is what the program prints in the middle of that rollout.
#[tokio::test]
async fn the_screen_in_the_readme_is_what_watch_shows() {
    let database = TestDatabase::fresh().await;
    rollout(&mut database.connect().await).await;
    let output = support::program()
        .args(["watch", "--once", "--width", "80"])
        .env("LOCKKEEPER_URL", database.url())
        .output()
        .expect("the program runs");
    let screen = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        output.status.success() && screen.contains("at the barrier"),
        "{screen}"
    );
    let readme_path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&readme_path).expect("the README");
    let (before, rest) = readme.split_once("```text\n").expect("its picture");
    let (shown, after) = rest.split_once("```\n").expect("the picture's end");
    if is_writing() {
        std::fs::write(
            &readme_path,
            format!("{before}```text\n{screen}```\n{after}"),
        )
        .expect("written");
    } else {
        assert_eq!(shape(shown), shape(&screen), "README.md is not up to date");
    }
}

/// What a line of the health view can say: the fixed words of its problem, the first two of them.
fn problems_of_health() -> Vec<Vec<&'static str>> {
    let (_, selects) = include_str!("../sql/views/health.sql")
        .split_once(") AS\n")
        .expect("its columns");
    selects
        .split("UNION ALL")
        .map(|select| {
            // Severity, subject, and then the problem, which ends where the next line is no continuation.
            let lines: Vec<&str> = select.trim_start().lines().collect();
            let is_next = |line: &&str| line.len() - line.trim_start().len() == "SELECT ".len();
            let rest = lines[3..].iter().take_while(|line| !is_next(line));
            let problem = std::iter::once(&lines[2]).chain(rest);
            let words = problem.flat_map(|line| line.split('\'').skip(1).step_by(2));
            words.take(2).collect()
        })
        .collect()
}

/// The guide says what to do for each of them, and speaks of nothing else.
#[test]
fn the_operators_guide_has_every_line_of_health_and_every_state() {
    let guide = std::fs::read_to_string(page("operators.md")).expect("the guide");
    let (_, table) = guide
        .split_once("| problem | why | what to do |\n")
        .expect("its table");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with("| "))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let problems = problems_of_health();
    let speaks_of =
        |row: &Vec<&str>, words: &Vec<&str>| words.iter().all(|word| row[0].contains(word));
    for words in &problems {
        assert!(!words.is_empty());
        let row = rows.iter().find(|row| speaks_of(row, words));
        let row = row.unwrap_or_else(|| panic!("{words:?} has no line in docs/operators.md"));
        assert!(row.len() == 3 && !row[2].is_empty(), "what to do: {row:?}");
    }
    for row in &rows {
        assert!(
            problems.iter().any(|words| speaks_of(row, words)),
            "health never says {row:?}"
        );
    }
    let states = include_str!("../sql/data/operation_transition.sql");
    for state in states
        .split('\'')
        .filter(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    {
        assert!(guide.contains(&format!("`{state}`")), "{state}");
    }
}

/// Those of an apply, which a view works out, have a table of their own with a next step each.
#[test]
fn the_operators_guide_has_every_state_of_an_apply() {
    let guide = std::fs::read_to_string(page("operators.md")).expect("the guide");
    let (_, table) = guide
        .split_once("| state | what it means | next step |\n| --- | --- | --- |\n")
        .expect("its table");
    let table = table.lines().take_while(|line| line.starts_with("| "));
    let mut listed: Vec<&str> = table
        .map(|line| line.split('`').nth(1).expect("a state"))
        .collect();
    let view = include_str!("../sql/views/apply_status.sql");
    let words: Vec<&str> = view.split_whitespace().collect();
    let pairs = words.windows(2);
    let answers =
        pairs.filter(|pair| matches!(pair[0], "THEN" | "ELSE") && pair[1].starts_with('\''));
    let mut states: Vec<&str> = answers.map(|pair| pair[1].trim_matches('\'')).collect();
    listed.sort_unstable();
    states.sort_unstable();
    states.dedup();
    assert_eq!(listed, states);
}
