//! The command line as its users meet it: what it prints, what it exits with, what it says when refused.

mod support;

use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::{Answer, TestDatabase, answer, one};

fn lockkeeper(arguments: &[&str]) -> Command {
    let mut command = support::program();
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(database: &TestDatabase, arguments: &[&str]) -> Answer {
    let mut command = lockkeeper(arguments);
    command.env("LOCKKEEPER_URL", database.url());
    // These deployments are names: there is nothing on them to look at. tests/preflight.rs looks.
    if arguments.first() == Some(&"submit") {
        command.arg("--no-preflight");
    }
    answer(command)
}

/// The answer of a command that succeeds.
#[track_caller]
fn done(database: &TestDatabase, arguments: &[&str]) -> String {
    let answer = run(database, arguments);
    assert_eq!(answer.code, 0, "{arguments:?}: {}", answer.err);
    answer.out
}

/// The complaint of a command that fails with `code`.
#[track_caller]
fn refused(database: &TestDatabase, code: i32, arguments: &[&str]) -> String {
    let answer = run(database, arguments);
    assert_eq!(
        answer.code, code,
        "{arguments:?}: {}{}",
        answer.out, answer.err
    );
    answer.err
}

#[track_caller]
fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}

const ALTER: &str = "ALTER TABLE orders ADD COLUMN note VARCHAR(64)";

async fn database_with_deployments(count: u32) -> TestDatabase {
    let database = TestDatabase::fresh().await;
    database.register_deployments(count).await;
    database
}

#[tokio::test]
async fn a_newcomer_installs_registers_submits_and_looks() {
    let database = TestDatabase::bare().await;
    assert!(done(&database, &["install"]).contains(database.schema()));
    done(&database, &["deployment", "add", "eu-1", "db0.example"]);
    let said = done(&database, &["deployment", "add", "eu-1", "db1.example"]);
    assert!(
        said.contains("db1.example:3306, and no longer db0.example:3306"),
        "{said}"
    );
    done(
        &database,
        &[
            "deployment",
            "add",
            "us-1",
            "db2.example:3307",
            "--label",
            "region=us",
        ],
    );
    let list = json(&done(&database, &["deployment", "list", "--json"]));
    assert_eq!(list[0]["deployment"], "eu-1");
    assert_eq!(
        (&list[1]["position"], &list[1]["port"]),
        (&1.into(), &3307.into())
    );
    assert_eq!(list[1]["labels"]["region"], "us");
    let moves = |to| ["deployment", "add", "us-1", to, "--json"];
    let moved = json(&done(&database, &moves("db3.example:3307")));
    assert_eq!(moved["warnings"].as_array().map(Vec::len), Some(0));
    let list = json(&done(&database, &["deployment", "list", "--json"]));
    assert_eq!(list[1]["labels"]["region"], "us", "as its place: kept");

    let said = done(
        &database,
        &[
            "submit",
            "--schema",
            "shop",
            "-e",
            ALTER,
            "--cutover-policy",
            "barrier",
            "--name",
            "notes",
            "--throttle",
            "3",
            "--yes",
        ],
    );
    assert!(said.contains("for 2 deployments"), "{said}");
    let moved = json(&done(&database, &moves("db2.example:3307")));
    let warning = moved["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.contains("is not done with apply 1"), "{moved}");
    let v6 = run(&database, &["deployment", "add", "us-1", "[::1]:3307"]);
    assert!(v6.out.contains("us-1 is [::1]:3307"), "{}", v6.out);
    let back = run(&database, &moves("db2.example:3307")[..4]);
    let command = "`lockkeeper deployment add us-1 '[::1]:3307'`";
    assert!(back.err.contains(command), "{}", back.err);
    let status = json(&done(&database, &["status", "notes", "--json"]));
    assert_eq!(status["throttle_level"], 3);
    assert_eq!(
        (&status["state"], &status["cutover_policy"]),
        (&"pending".into(), &"barrier".into())
    );
    let plain = done(&database, &["status", "notes"]);
    assert!(
        plain.contains("waits for eu-1"),
        "a waiting deployment says why: {plain}"
    );
    assert!(
        !plain.contains('\u{1b}'),
        "colours where there is no terminal: {plain}"
    );
    assert!(done(&database, &["events", "notes"]).contains("submitted"));
    assert_eq!(done(&database, &["doctor"]), "All is well.\n");
}

#[tokio::test]
async fn commands_on_an_apply_take_its_id_or_its_name_and_answer_what_becomes_of_them() {
    let database = database_with_deployments(2).await;
    done(
        &database,
        &[
            "submit", "--schema", "shop", "-e", ALTER, "--name", "notes", "-y",
        ],
    );
    let stopped = json(&done(
        &database,
        &["stop", "notes", "-m", "lunch", "--json"],
    ));
    assert_eq!(
        (&stopped["command"], &stopped["status"]),
        (&"stop".into(), &"done".into())
    );
    let id = json(&done(&database, &["status", "--json"]))[0]["apply_id"].to_string();
    assert!(done(&database, &["start", &id]).starts_with("start (request "));
    assert!(done(&database, &["throttle", &id, "10"]).contains("level 10"));
    assert!(done(&database, &["cancel", "notes"]).starts_with("cancel (request "));
    let status = json(&done(&database, &["status", "notes", "--json"]));
    assert_eq!(status["state"], "cancelled");
}

#[tokio::test]
async fn statements_come_from_a_file_or_from_standard_input_too() {
    use std::io::Write as _;
    let database = database_with_deployments(1).await;
    let text = "-- two; tables\nALTER TABLE a COMMENT 'x;y';\nALTER TABLE b ADD c INT;\n";
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    let path = file.path().to_str().expect("a plain path");
    let answered = json(&done(
        &database,
        &["submit", "--schema", "one", "-f", path, "-y", "--json"],
    ));
    assert_eq!(answered["operations"], 1);

    let missing = ["submit", "--schema", "one", "-f", "/nonexistent.sql", "-y"];
    let said = refused(&database, 2, &missing);
    assert!(
        said.contains("/nonexistent.sql: No such file") && said.contains("correct --file"),
        "{said}"
    );

    let mut command = lockkeeper(&[
        "submit",
        "--schema",
        "two",
        "-f",
        "-",
        "-y",
        "--no-preflight",
    ]);
    command
        .env("LOCKKEEPER_URL", database.url())
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let mut child = command.spawn().expect("the program runs");
    let mut input = child.stdin.take().expect("its input");
    input.write_all(text.as_bytes()).expect("read");
    drop(input);
    assert!(child.wait().expect("its end").success());

    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT t.table_name FROM task_status AS t ORDER BY t.operation_id, t.position",
    )
    .fetch_all(&mut database.connect().await)
    .await
    .expect("task_status");
    assert_eq!(tables, ["a", "b", "a", "b"]);
}

#[tokio::test]
async fn what_the_server_refuses_exits_with_one_and_the_servers_own_words() {
    let database = database_with_deployments(1).await;
    done(
        &database,
        &["submit", "--schema", "shop", "-e", ALTER, "-y"],
    );
    let held = refused(
        &database,
        1,
        &["submit", "--schema", "shop", "-e", ALTER, "-y"],
    );
    assert!(held.contains("held by apply"), "{held}");
    let unknown = refused(
        &database,
        1,
        &[
            "submit",
            "--schema",
            "x",
            "-e",
            ALTER,
            "-y",
            "--deployment",
            "nix",
        ],
    );
    assert!(unknown.contains("nix"), "{unknown}");
    let no_ddl = refused(
        &database,
        1,
        &["submit", "--schema", "x", "-e", "ALTER TABL orders", "-y"],
    );
    assert!(no_ddl.contains("ALTER TABL orders"), "{no_ddl}");
    assert!(refused(&database, 1, &["stop", "nix"]).contains("lockkeeper status"));
    assert!(refused(&database, 1, &["status", "999999"]).contains("lockkeeper status"));
    assert!(refused(&database, 1, &["events", "999999"]).contains("lockkeeper status"));
    assert!(refused(&database, 1, &["watch", "999999", "--once"]).contains("lockkeeper status"));
    refused(&database, 1, &["deployment", "remove", "d0"]);
    let applies = json(&done(&database, &["status", "--json"]));
    assert_eq!(
        applies.as_array().map(Vec::len),
        Some(1),
        "a refusal leaves nothing behind"
    );
}

#[tokio::test]
async fn with_json_an_error_is_an_object_with_its_code() {
    let database = database_with_deployments(1).await;
    let submit = ["submit", "--schema", "shop", "-e", ALTER, "-y", "--json"];
    done(&database, &submit);
    let held = json(&refused(&database, 1, &submit))["error"].take();
    assert_eq!(
        (&held["code"], &held["name"], &held["exit_code"]),
        (&50502.into(), &"table_held".into(), &1.into())
    );
    let said = held["message"].as_str().expect("a message");
    assert!(said.contains("held by apply"), "{said}");
    let unknown = json(&refused(&database, 1, &["status", "nix", "--json"]))["error"].take();
    assert!(
        unknown["code"].is_null(),
        "the server was not asked: {unknown}"
    );
    for arguments in [
        &["no-such-command", "--json"][..],
        &["throttle", "1", "11", "--json"],
    ] {
        let usage = json(&refused(&database, 2, arguments))["error"].take();
        assert_eq!(usage["exit_code"], 2);
    }
    let plan = answer({
        // With a look, which this deployment has no table for.
        let mut command = lockkeeper(&[
            "submit",
            "--schema",
            "no_such_schema",
            "-e",
            ALTER,
            "-y",
            "--json",
        ]);
        command.env("LOCKKEEPER_URL", database.url());
        command
    });
    let error = json(&plan.err)["error"].take();
    let refusal = error["deployments"][0]["refusal"].as_str().expect("why");
    assert!(
        refusal.starts_with("statement 1: there is no table"),
        "{error}"
    );
}

/// As `lockkeeper status | head` and `2>&1 | head` do, once head has left.
#[tokio::test]
async fn a_reader_that_has_left_changes_no_exit_code() {
    let database = database_with_deployments(1).await;
    for (arguments, code) in [
        (&["status"][..], 0),
        (&["status", "nix"], 1),
        (&["--help"], 0),
        (&["nix"], 2),
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = lockkeeper(arguments);
        command
            .env("LOCKKEEPER_URL", database.url())
            .stdout(writer.try_clone().expect("one more"))
            .stderr(writer);
        let status = command.status().expect("the program runs");
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}

#[tokio::test]
async fn doctor_tells_of_one_server_under_two_names_and_of_a_name_that_nobody_has() {
    use std::io::Write as _;
    let database = TestDatabase::fresh().await;
    done(&database, &["deployment", "add", "eu-1", "db1.example"]);
    done(&database, &["doctor"]);
    let added = run(
        &database,
        &["deployment", "add", "us-1", "DB1.example:3306"],
    );
    assert_eq!(added.code, 0);
    assert!(
        added
            .err
            .contains("warning: us-1: it has the address of eu-1"),
        "{}",
        added.err
    );
    let twice = json(&run(&database, &["doctor", "--json"]).out);
    assert_eq!(twice["deployments"][0]["deployment"], "us-1");
    // Both addresses lead nowhere.
    let looked = json(&run(&database, &["doctor", "--all", "--json"]).out);
    assert_eq!(looked.as_array().map(Vec::len), Some(2), "{looked}");
    assert_eq!(looked[1]["deployment"], "us-1");
    assert_eq!(looked[1]["findings"][0]["subject"], "registration");
    assert!(looked[1]["unreachable"].is_string(), "{looked}");
    done(&database, &["deployment", "add", "us-1", "db2.example"]);
    done(&database, &["doctor"]);

    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"[deployments.us-2]\nuser = \"lockkeeper\"\n")
        .expect("written");
    let path = file.path().to_str().expect("a plain path");
    let misnamed = run(&database, &["--config", path, "doctor"]);
    assert_eq!(misnamed.code, 1);
    assert!(
        misnamed
            .out
            .contains("us-2: the configuration has [deployments.us-2]"),
        "{}",
        misnamed.out
    );
}

#[tokio::test]
async fn without_a_deployment_there_is_nothing_to_look_at_or_to_change() {
    let database = TestDatabase::fresh().await;
    for arguments in [
        &["doctor", "--all"][..],
        &["submit", "--schema", "shop", "-e", ALTER, "-y"],
    ] {
        let said = refused(&database, 1, arguments);
        assert!(
            said.contains("no deployment is registered; `lockkeeper deployment add"),
            "{said}"
        );
    }
}

/// No line of `health`, as nothing waits for a person; but nobody is told that all is well.
#[tokio::test]
async fn doctor_tells_of_a_failure_that_the_others_go_on_after() {
    let database = TestDatabase::fresh().await;
    for number in 0..2 {
        let (name, host) = (format!("d{number}"), format!("db{number}.example"));
        done(&database, &["deployment", "add", &name, &host]);
    }
    let parallel = [
        "submit",
        "--schema",
        "shop",
        "-e",
        ALTER,
        "-y",
        "--cutover-policy",
        "parallel",
    ];
    done(&database, &parallel);
    let mut session = database.connect().await;
    let claims = "CALL driver_register('driver-1', '0.1.0', 1, NULL); CALL operation_claim_copy('driver-1', NULL); \
                  CALL operation_claim_copy('driver-1', NULL)";
    support::run(&mut session, claims).await;
    let token = "SELECT CAST(lease_token AS CHAR) FROM operation_live WHERE deployment = 'd0'";
    let token: String = support::one(&mut session, token).await;
    let operation = "SELECT operation_id FROM operation_live WHERE deployment = 'd0'";
    let operation: u64 = support::one(&mut session, operation).await;
    let fail = format!("CALL operation_fail({operation}, '{token}', 'no room', 0)");
    support::run(&mut session, fail).await;
    let told = "note: apply 1 goes on after a failure, 0 of 2 have the change: d0: no room; see `lockkeeper why 1`; \
                `lockkeeper stop 1` holds the others\nAll else is well.\n";
    assert_eq!(done(&database, &["doctor"]), told);
}

#[tokio::test]
async fn wait_ends_when_an_apply_is_over_or_needs_somebody() {
    let database = database_with_deployments(1).await;
    let mut session = database.connect().await;
    let names = ["one", "two"];
    for name in names {
        let submit = [
            "submit", "--schema", name, "-e", ALTER, "--name", name, "-y",
        ];
        done(&database, &submit);
    }
    let late = refused(&database, 1, &["wait", "one", "--timeout", "1"]);
    assert!(
        late.contains("d0: pending  Any driver may claim its copy now."),
        "{late}"
    );
    assert!(
        late.contains("apply 1 is not over after 1 s, and goes on; see `lockkeeper why 1`"),
        "{late}"
    );
    done(&database, &["stop", "one"]);
    let stopped = refused(&database, 1, &["wait", "1"]);
    assert!(
        stopped.contains("apply 1 is stopped: nothing of it moves until somebody acts"),
        "{stopped}"
    );
    done(&database, &["cancel", "one"]);
    let cancelled = refused(&database, 1, &["wait", "one"]);
    assert!(
        cancelled.contains("apply 1 is cancelled; see `lockkeeper why 1`"),
        "{cancelled}"
    );

    let mut waiting = lockkeeper(&["wait", "two", "--json"]);
    waiting.env("LOCKKEEPER_URL", database.url());
    waiting.stdout(Stdio::piped()).stderr(Stdio::piped());
    let waiting = waiting.spawn().expect("the program runs");
    support::run(&mut session, "CALL driver_register('driver-1', '0.1.0', 1, NULL); CALL operation_claim_copy('driver-1', NULL)").await;
    let token: String = one(
        &mut session,
        "SELECT CAST(lease_token AS CHAR) FROM operation_live",
    )
    .await;
    let operation: u64 = one(&mut session, "SELECT operation_id FROM operation_live").await;
    let finish = format!(
        "CALL operation_arrive({operation}, '{token}', NULL); CALL operation_swapped({operation}, '{token}', NULL)"
    );
    support::run(&mut session, &finish).await;
    let Output { status, stdout, .. } = waiting.wait_with_output().expect("it ends");
    assert_eq!(status.code(), Some(0));
    assert_eq!(
        json(&String::from_utf8_lossy(&stdout))["state"],
        "completed"
    );
    assert_eq!(done(&database, &["wait", "two"]), "Apply 2 is completed.\n");
    assert!(refused(&database, 1, &["wait", "three"]).contains("there is no apply named 'three'"));
}

/// As `history_purge` does it while the control server is out of reach of `wait`.
#[tokio::test]
async fn wait_ends_when_its_apply_is_gone() {
    let (code, said) = wait_out(async |database| {
        done(database, &["cancel", "1"]);
        let mut session = database.connect().await;
        support::run(&mut session, "CALL history_purge(0, 100)").await;
    })
    .await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("there is no apply 1"), "{said}");
}

/// What is answered again in the same way is no failover.
#[tokio::test]
async fn wait_ends_when_its_schema_is_gone() {
    let (code, said) = wait_out(async |database| {
        let drop = format!("DROP DATABASE `{}`", database.schema());
        support::run(&mut database.connect().await, drop).await;
    })
    .await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("has no (complete) Lockkeeper"), "{said}");
}

/// What `wait` ends with after something that happens while it doesn't look.
async fn wait_out(meanwhile: impl AsyncFnOnce(&TestDatabase)) -> (Option<i32>, String) {
    use std::io::{BufRead as _, BufReader, Read as _};
    let database = database_with_deployments(1).await;
    done(
        &database,
        &["submit", "--schema", "shop", "-e", ALTER, "-y"],
    );
    let mut command = lockkeeper(&["wait", "1", "--timeout", "60"]);
    command
        .env("LOCKKEEPER_URL", database.url())
        .stderr(Stdio::piped());
    let mut waiting = command.spawn().expect("the program runs");
    let mut said = BufReader::new(waiting.stderr.take().expect("piped"));
    let mut line = String::new();
    said.read_line(&mut line).expect("UTF-8");
    assert!(line.contains("d0: pending"), "{line}");
    let pid = Pid::from_raw(i32::try_from(waiting.id()).expect("an id")).expect("it runs");
    kill_process(pid, Signal::STOP).expect("stopped");
    meanwhile(&database).await;
    kill_process(pid, Signal::CONT).expect("goes on");
    let mut rest = String::new();
    said.read_to_string(&mut rest).expect("UTF-8");
    (waiting.wait().expect("its end").code(), rest)
}

/// Four of six have the change, the fifth fails, and the sixth never starts.
#[tokio::test]
async fn a_rollout_that_ended_half_way_is_told_of_by_doctor_watch_and_why() {
    use sqlx::{AssertSqlSafe, Executor as _, Row as _};
    let database = TestDatabase::fresh().await;
    for number in 0..6 {
        let (name, host) = (format!("d{number}"), format!("db{number}.example"));
        done(&database, &["deployment", "add", &name, &host]);
    }
    done(
        &database,
        &["submit", "--schema", "shop", "-e", ALTER, "-y"],
    );
    let mut session = database.connect().await;
    let call = async |session: &mut sqlx::mysql::MySqlConnection, text: String| {
        let rows = sqlx::raw_sql(AssertSqlSafe(text.clone()))
            .fetch_all(session)
            .await;
        rows.unwrap_or_else(|error| panic!("{text}: {error}"))
    };
    session
        .execute("CALL driver_register('driver-1', '0.1.0', 1, NULL)")
        .await
        .expect("a driver");
    for number in 0..5 {
        let claims = call(
            &mut session,
            "CALL operation_claim_copy('driver-1', NULL)".to_owned(),
        )
        .await;
        let claim = &claims[0];
        let operation: u64 = claim.get_unchecked("operation_id");
        let token: String = claim.get_unchecked("lease_token");
        if number == 4 {
            let fail = format!("CALL operation_fail({operation}, '{token}', 'no room', 0)");
            call(&mut session, fail).await;
            break;
        }
        let arrive = format!("CALL operation_arrive({operation}, '{token}', NULL)");
        call(&mut session, arrive).await;
        // Its turn at once.
        let swapped = format!("CALL operation_swapped({operation}, '{token}', NULL)");
        call(&mut session, swapped).await;
    }
    let said = done(&database, &["doctor"]);
    let told = "note: apply 1 ended failed after 4 of 6: d4: no room; see `lockkeeper status 1`, mend it, then submit for the \
                rest: --deployment d4 --deployment d5\nAll else is well.\n";
    assert_eq!(said, told);
    let doctor = json(&done(&database, &["doctor", "--json"]));
    assert_eq!(
        (&doctor["well"], &doctor["failed"][0]["deployments"][1]),
        (&true.into(), &"d5".into())
    );
    assert!(
        done(&database, &["why", "1"])
            .contains("d5 (cancelled): It is settled: can never start: d4 is failed."),
    );
    // It stays on the screen for some minutes; then nothing goes on.
    let past = "UPDATE apply SET finished_at = finished_at - INTERVAL 1 HOUR, submitted_at = submitted_at - INTERVAL 1 HOUR";
    session.execute(past).await.expect("an hour later");
    let screen = done(&database, &["watch", "--once", "--width", "200"]);
    assert!(
        screen.contains("Nothing is going on")
            && screen.contains("ended failed at")
            && screen.contains("after 4 of 6: d4: no room"),
        "{screen}"
    );

    // With a look, which finds no such table on the one that it reaches.
    let here = format!("{}:{}", database.settings().host, database.settings().port);
    done(&database, &["deployment", "add", "d0", &here]);
    let mut again = lockkeeper(&["submit", "--schema", "shop", "-e", ALTER, "-y"]);
    again.env("LOCKKEEPER_URL", database.url());
    let again = answer(again);
    assert_eq!(again.code, 1);
    assert!(
        again.err.contains("apply 1 has made this change on 4 of 6 already, for the rest: --deployment d4 --deployment d5"),
        "{}",
        again.err
    );
    // What is submitted answers for the one that failed.
    done(
        &database,
        &[
            "submit",
            "--schema",
            "shop",
            "-e",
            ALTER,
            "-y",
            "--deployment",
            "d4",
        ],
    );
    assert_eq!(done(&database, &["doctor"]), "All is well.\n");
    done(&database, &["cancel", "2", "-m", "wrong day"]);
    assert!(done(&database, &["why", "2"]).contains("It is settled: wrong day."));
}

#[tokio::test]
async fn what_is_not_understood_exits_with_two() {
    let database = TestDatabase::bare().await;
    let submit = ["submit", "--schema", "x", "-e", ALTER, "-y"];
    for arguments in [
        &["no-such-command"][..],
        &["submit"],
        &["submit", "--schema", "x", "-e", " ; ", "-y"],
        &[
            "submit", "--schema", "x", "-e", ALTER, "-y", "--engine", "{",
        ],
        &[
            "submit",
            "--schema",
            "x",
            "-e",
            ALTER,
            "-y",
            "--cutover-policy",
            "all",
        ],
        &[&submit[..], &["--max-copies", "0"]].concat(),
        &[&submit[..], &["--revert-window", "31536001"]].concat(),
        // It would mean nothing.
        &[&submit[..], &["--defer-timeout", "60"]].concat(),
        // Nothing in it is for programs.
        &["demo", "--json"],
        &["doctor", "--schema", "shop"],
        &["doctor", "--deployment-user", "driver"],
        &["doctor", "--all", "--deployment", "a"],
        &["status", "1", "-n", "5"],
        &["throttle", "1", "11"],
        &["deployment", "add", "a", "b:c"],
        &["deployment", "add", "a", "b", "--label", "c"],
    ] {
        refused(&database, 2, arguments);
    }
    let asked = refused(&database, 2, &["submit", "--schema", "x", "-e", ALTER]);
    assert!(asked.contains("--yes"), "{asked}");
    let nameless = answer(lockkeeper(&["status"]));
    assert_eq!(nameless.code, 2);
    assert!(nameless.err.contains("LOCKKEEPER_URL"), "{}", nameless.err);
}

#[test]
fn completions_need_no_settings() {
    let mut command = lockkeeper(&["completions", "bash"]);
    command.env("LOCKKEEPER_CONCURRENCY", "0");
    let answer = answer(command);
    assert_eq!((answer.code, answer.err.as_str()), (0, ""));
}

#[test]
fn a_setting_that_is_refused_is_named_with_its_rule() {
    for (arguments, variable, said) in [
        (
            &["drive", "--metrics-listen", "localhost:9187"][..],
            None,
            "metrics_listen (the command line): 'localhost:9187' is refused",
        ),
        (
            &["status"],
            Some(("LOCKKEEPER_CONCURRENCY", "0")),
            "concurrency (the environment): 0 is refused; it is a number from 1 to 1000",
        ),
        (
            &["status"],
            Some(("LOCKKEEPER_LOG", "verbose")),
            "log 'verbose' is refused",
        ),
        (
            &["drive", "--deployment-ssl-mode", "VERIFY_CA"],
            Some(("LOCKKEEPER_URL", "mysql://root@127.0.0.1:1")),
            "deployment (the command line): ssl-mode VERIFY_CA checks",
        ),
    ] {
        let mut command = lockkeeper(arguments);
        command.envs(variable);
        let answer = answer(command);
        let unfolded = answer.err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(answer.code, 2, "{unfolded}");
        assert!(unfolded.contains(said), "{unfolded}");
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_used_says_the_next_step_and_never_the_password() {
    let database = TestDatabase::bare().await;
    let url = url::Url::parse(&database.url()).expect("an address");
    let with = |change: &dyn Fn(&mut url::Url)| {
        let mut url = url.clone();
        change(&mut url);
        let mut command = lockkeeper(&["status"]);
        command.env("LOCKKEEPER_URL", url.as_str());
        let answer = answer(command);
        assert!(!answer.err.contains("hunter2"), "{}", answer.err);
        (answer.code, answer.err)
    };
    let (code, said) = with(&|url| url.set_password(Some("hunter2")).expect("a password"));
    assert!(
        code == 1 && said.contains("password") && said.contains("LOCKKEEPER_URL"),
        "{said}"
    );
    let (code, said) = with(&|url| url.set_port(Some(1)).expect("a port"));
    assert!(code == 1 && said.contains("is it running"), "{said}");
    let (code, said) = with(&|_| {});
    assert!(
        code == 1 && said.contains("run `lockkeeper install`"),
        "{said}"
    );
    let (code, said) = with(&|url| {
        url.set_password(Some("hunter2")).expect("a password");
        url.set_query(Some("sslmode=x"));
    });
    assert!(code == 2 && said.contains("ssl-mode"), "{said}");
    let mut unreadable = lockkeeper(&["status"]);
    unreadable.env("LOCKKEEPER_URL", "mysql:root:hunter2@db");
    let said = answer(unreadable);
    assert!(
        said.code == 2 && !said.err.contains("hunter2"),
        "{}",
        said.err
    );
}

#[tokio::test]
async fn a_schema_of_another_version_is_told_as_such() {
    let database = TestDatabase::fresh().await;
    let older = "CREATE OR REPLACE VIEW deployment_status AS SELECT 1 AS deployment";
    support::run(&mut database.connect().await, older).await;
    let said = refused(&database, 1, &["deployment", "list"]);
    assert!(
        said.contains("Unknown column") && said.contains("by another lockkeeper than this one"),
        "{said}"
    );
}

#[tokio::test]
async fn a_driver_that_logs_json_ends_with_a_line_of_json() {
    let database = TestDatabase::bare().await;
    let arguments = ["drive", "--log-format", "json"];
    let last = json(&refused(&database, 1, &arguments));
    assert_eq!(
        (&last["level"], &last["exit_code"]),
        (&"ERROR".into(), &1.into())
    );
    let said = last["message"].as_str().expect("why");
    assert!(said.contains("run `lockkeeper install`"), "{said}");
    let plain = refused(&database, 1, &["drive"]);
    assert!(plain.starts_with("lockkeeper: "), "{plain}");
}

#[tokio::test]
async fn doctor_exits_with_one_and_names_what_was_edited() {
    use sqlx::Executor as _;
    let database = TestDatabase::fresh().await;
    let mut session = database.connect().await;
    session
        .execute("DROP PROCEDURE apply_stop")
        .await
        .expect("dropped");
    let answer = run(&database, &["doctor"]);
    assert_eq!(answer.code, 1);
    assert!(
        answer
            .out
            .contains("procedure apply_stop is missing; `lockkeeper install`"),
        "{}",
        answer.out
    );
    done(&database, &["install"]);
    done(&database, &["doctor"]);
}

#[tokio::test]
async fn watch_and_why_say_the_sentence_of_the_views() {
    let database = database_with_deployments(2).await;
    done(
        &database,
        &[
            "submit",
            "--schema",
            "shop",
            "-e",
            ALTER,
            "--name",
            "notes",
            "--note",
            "ticket 12",
            "-y",
        ],
    );
    assert!(done(&database, &["status", "notes"]).contains("\nnote: ticket 12\n"));
    assert_eq!(
        json(&done(&database, &["status", "notes", "--json"]))["next_swap"],
        "d0"
    );
    // d1 waits for d0.
    let blocked: String = one(
        &mut database.connect().await,
        "SELECT b.reason FROM operation_blocked AS b",
    )
    .await;
    assert!(done(&database, &["why", "notes"]).contains(&format!("d1 (pending): {blocked}")));
    for width in ["80", "200"] {
        let screen = done(&database, &["watch", "--once", "--width", width]);
        assert!(screen.contains(&blocked), "{screen}");
        let longest = screen.lines().map(|line| line.chars().count()).max();
        assert!(longest <= width.parse().ok(), "{screen}");
    }
    let fleet = json(&done(&database, &["watch", "--json"]));
    assert_eq!(fleet["applies"][0]["operations"][1]["waiting"], blocked);
    assert!(refused(&database, 2, &["watch"]).contains("--once"));
    let reader = database.account(&[database.roles()[0].as_str()]).await;
    let url = format!(
        "mysql://{}:{}@{}:{}/{}",
        reader.credentials.user,
        reader.credentials.password.expose(),
        reader.host,
        reader.port,
        database.schema()
    );
    let as_reader = |arguments: &[&str]| {
        let mut command = lockkeeper(arguments);
        command.env("LOCKKEEPER_URL", &url);
        answer(command)
    };
    for arguments in [
        &["watch", "--once"][..],
        &["status", "1"],
        &["why", "1"],
        &["events"],
    ] {
        let said = as_reader(arguments);
        assert_eq!(said.code, 0, "it reads views only: {}", said.err);
    }
    let doctor = json(&as_reader(&["doctor", "--json"]).out);
    assert!(
        doctor["objects"].is_null(),
        "tables are for others: {doctor}"
    );
    assert!(doctor["health"].is_array());
    let driver = as_reader(&["drive", "--until-idle"]);
    assert!(
        driver.code == 1
            && driver.err.contains("driver_register")
            && driver.err.contains("_driver' for a driver"),
        "{}",
        driver.err
    );
}

#[test]
fn the_version_names_commit_and_api() {
    let said = answer(lockkeeper(&["--version"])).out;
    assert!(
        said.contains("commit ") && said.contains("API version 1"),
        "{said}"
    );
}

#[test]
fn sql_is_printed_without_a_server() {
    let printed = answer(lockkeeper(&["install", "--print"]));
    assert_eq!(printed.code, 0);
    assert!(
        printed
            .out
            .contains("CREATE DATABASE IF NOT EXISTS `lockkeeper`")
    );
    assert!(printed.out.contains("CREATE PROCEDURE apply_submit"));
}

#[test]
fn completions_are_there_for_the_usual_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let script = answer(lockkeeper(&["completions", shell]));
        assert!(
            script.code == 0 && script.out.contains("skip-revert"),
            "{shell}"
        );
    }
}
