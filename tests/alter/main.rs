//! One server, one command: the real binary on a real server, interrupted, killed and run again.

mod shop;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use lockkeeper::config::TlsMode;
use rustix::process::Signal;
use shop::{Shop, code, done, err, out, rest, run, signal, until_it_says};
use support::TestDatabase;
use tokio::io::{AsyncBufReadExt as _, BufReader};

const ROWS: u32 = 120_000;
/// A copy of many steps, so that it can be met in the middle.
const SMALL_STEPS: &str = r#"{"copy_threads": 1, "chunk_seconds": 0.01}"#;
const WIDEN: &str = "ALTER TABLE orders MODIFY total BIGINT";

#[tokio::test]
async fn a_server_that_knows_nothing_of_lockkeeper_is_changed_by_one_command() {
    let mut shop = Shop::new().await;
    let output = run(shop.alter(&["--yes", WIDEN])).await;
    assert_eq!(code(&output), 0, "{}{}", out(&output), err(&output));
    assert!(
        err(&output).contains("copy while the application writes"),
        "{}",
        err(&output)
    );
    assert!(
        out(&output).contains("Apply 1 is completed."),
        "{}",
        out(&output)
    );
    assert!(
        !out(&output).contains('\u{1b}'),
        "no bar without a terminal: {}",
        out(&output)
    );
    assert_eq!(shop.column_type().await, "bigint");
    assert_eq!(shop.count("SELECT COUNT(*) FROM orders").await, 1000);
    let said = out(&output);
    let (_, stays) = said.split_once("What stays on the server:\n").expect(&said);
    let listed: Vec<&str> = stays.lines().filter(|line| line.contains("_lk_")).collect();
    let ours = shop.tables_of_ours().await;
    assert_eq!(listed.len(), ours.len(), "{ours:?}: {stays}");
    for table in ours {
        let line = format!("  `{}`.`{table}`: the ", shop.schema);
        let line = listed.iter().find(|one| one.starts_with(&line));
        let line = line.unwrap_or_else(|| panic!("{table}: {stays}"));
        assert!(
            line.contains(" UTC on the next apply here drops it"),
            "{line}"
        );
    }
    let schema = format!("  `{}`: the control schema", shop.database.schema());
    assert!(stays.contains(&schema), "{stays}");

    // The next one finds all of it again, and needs no copy.
    let instant = ["--yes", "--json", "ALTER TABLE orders ADD COLUMN x INT"];
    let second = done(&run(shop.alter(&instant)).await);
    assert_eq!(
        (&second["apply_id"], &second["state"]),
        (&2.into(), &"completed".into())
    );
    let deployments = "SELECT COUNT(*) FROM deployment_status AS d";
    assert_eq!(shop.ask(deployments).await.as_deref(), Some("1"));
    let copied =
        "SELECT COUNT(*) FROM operation_status AS o WHERE o.apply_id = 2 AND o.rows_copied > 0";
    assert_eq!(shop.ask(copied).await.as_deref(), Some("0"));
    // What was once done may be asked for once more; it is the server that refuses.
    let again = run(shop.alter(&instant)).await;
    assert!(
        code(&again) == 1 && err(&again).contains("Duplicate column"),
        "{}",
        err(&again)
    );
}

#[tokio::test]
async fn an_interrupted_copy_is_resumed_by_the_same_command() {
    let mut shop = Shop::of(TestDatabase::bare().await, ROWS).await;
    let change = ["--yes", "--engine", SMALL_STEPS, WIDEN];
    let mut protected = shop.database.settings().clone();
    protected.tls.mode = TlsMode::Required;
    let url = protected.url();
    let slow = shop.spawn(&change, &["--throttle", "9", "--url", url.expose()]);
    shop.until_it_copies().await;
    signal(&slow, Signal::INT);
    let output = slow.wait_with_output().await.expect("its end");
    let said = err(&output);
    assert_eq!(code(&output), 130, "{said}");
    for part in [
        "the shadow table",
        "the checkpoint",
        "lockkeeper alter --schema",
        "lockkeeper cancel 1 --url ",
        ":PASSWORD@",
        "?ssl-mode=REQUIRED' && lockkeeper drive",
        // A driver would go there without it.
        " --deployment-ssl-mode REQUIRED --url ",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains(url.expose()), "no password: {said}");
    let leases = "SELECT COUNT(*) FROM lease_status AS l";
    assert_eq!(
        shop.ask(leases).await.as_deref(),
        Some("0"),
        "it gave the lease back"
    );

    let other = run(shop.alter(&[&change[..], &["--revert-window", "60"]].concat())).await;
    assert!(
        err(&other).contains("with other options"),
        "{}",
        err(&other)
    );
    let resumed = run(shop.alter(&[&change[..], &["--throttle", "0", "--json"]].concat())).await;
    assert_eq!(done(&resumed)["apply_id"], 1);
    assert_eq!(shop.column_type().await, "bigint");
    assert_eq!(
        shop.count("SELECT COUNT(*) FROM orders").await,
        i64::from(ROWS)
    );
}

#[tokio::test]
async fn a_server_that_is_gone_ends_it_after_a_while_and_the_same_command_goes_on() {
    let [mut server] = support::private_servers(1).await.try_into().expect("one");
    let mut shop = Shop::of(TestDatabase::on(server.administrator()), ROWS).await;
    let change = ["--yes", "--engine", SMALL_STEPS, WIDEN];
    let slow = shop.spawn(&change, &["--throttle", "9", "--wait-for-server", "1"]);
    shop.until_it_copies().await;
    server.kill().await.expect("killed");
    let output = slow.wait_with_output().await.expect("its end");
    let said = err(&output);
    assert_eq!(code(&output), 130, "{said}");
    let next = "once it answers, the same command resumes it";
    assert!(said.contains(next), "{said}");
    let told = said.matches("no claim; it is asked again").count();
    assert!(told <= 2, "each trouble once: {said}");

    server.restart().await.expect("up again");
    shop.session = shop.database.connect().await;
    support::run(&mut shop.session, format!("USE {}", shop.schema)).await;
    let resumed = run(shop.alter(&[&change[..], &["--throttle", "0", "--json"]].concat())).await;
    assert_eq!(done(&resumed)["apply_id"], 1);
    assert_eq!(shop.column_type().await, "bigint");
}

/// As a full disk does it: reads are answered, and no commit ends.
#[tokio::test]
async fn an_interrupt_is_answered_while_the_server_commits_nothing() {
    let [server] = support::private_servers(1).await.try_into().expect("one");
    let mut shop = Shop::of(TestDatabase::on(server.administrator()), ROWS).await;
    let change = ["--yes", "--engine", SMALL_STEPS, WIDEN];
    let mut slow = shop.spawn(&change, &["--throttle", "9"]);
    shop.until_it_copies().await;
    let mut full = shop.database.connect().await;
    support::run(&mut full, "FLUSH TABLES WITH READ LOCK".to_owned()).await;
    let mut said = BufReader::new(slow.stderr.take().expect("piped")).lines();
    until_it_says(&mut said, "it answers reads, and no commit ends").await;
    signal(&slow, Signal::INT);
    let ended = async { tokio::join!(slow.wait_with_output(), rest(&mut said)) };
    let ended = tokio::time::timeout(Duration::from_secs(30), ended).await;
    let (output, said) = ended.expect("an answer to Ctrl-C");
    assert_eq!(code(&output.expect("its end")), 130, "{said}");
    for part in ["is its disk full", "the shadow table", "To resume it:"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    support::run(&mut full, "UNLOCK TABLES".to_owned()).await;
    let resumed = run(shop.alter(&[&change[..], &["--throttle", "0", "--json"]].concat())).await;
    assert_eq!(done(&resumed)["apply_id"], 1);
    assert_eq!(shop.column_type().await, "bigint");
}

#[tokio::test]
async fn a_killed_one_is_resumed_by_the_same_command_before_its_lease_runs_out() {
    let mut shop = Shop::of(TestDatabase::bare().await, ROWS).await;
    let change = ["--yes", "--engine", SMALL_STEPS, WIDEN];
    let mut slow = shop.spawn(&change, &["--throttle", "9"]);
    shop.until_it_copies().await;
    slow.kill().await.expect("killed");
    let held = "SELECT l.stale FROM lease_status AS l";
    assert_eq!(
        shop.ask(held).await.as_deref(),
        Some("0"),
        "a dead one holds it"
    );

    let resumed = run(shop.alter(&[&change[..], &["--throttle", "0", "--json"]].concat())).await;
    assert_eq!(done(&resumed)["apply_id"], 1);
    let taken = "SELECT COUNT(*) FROM event_log AS e WHERE e.event = 'lease_taken'";
    assert_eq!(
        shop.ask(taken).await.as_deref(),
        Some("1"),
        "it did not wait"
    );
    assert_eq!(shop.column_type().await, "bigint");
    assert_eq!(
        shop.count("SELECT COUNT(*) FROM orders").await,
        i64::from(ROWS)
    );

    // Whoever was killed after the swap would not know that it took place.
    let again = run(shop.alter(&["--dry-run", "--engine", SMALL_STEPS, WIDEN])).await;
    let said = err(&again).split_whitespace().collect::<Vec<_>>().join(" ");
    let told = "Apply 1 has made this very change, and ended ";
    assert!(said.contains(told), "{said}");
}

/// A terminal that is closed sends it.
#[tokio::test]
async fn a_closed_terminal_gives_the_lease_back_as_ctrl_c_does() {
    let shop = Shop::of(TestDatabase::bare().await, ROWS).await;
    let change = ["--yes", "--engine", SMALL_STEPS, WIDEN];
    let slow = shop.spawn_with_hangup(&change, &["--throttle", "9"]);
    shop.until_it_copies().await;
    signal(&slow, Signal::HUP);
    let output = slow.wait_with_output().await.expect("its end");
    assert_eq!(code(&output), 130, "{}", err(&output));
    let held = "SELECT COUNT(*) FROM lease_status";
    assert_eq!(shop.ask(held).await.as_deref(), Some("0"));
}

#[tokio::test]
async fn two_at_once_are_one_apply_and_the_second_looks_on() {
    let mut shop = Shop::new().await;
    let first = shop.spawn(&["--yes", "--throttle", "10", WIDEN], &[]);
    let driver = "SELECT COUNT(*) FROM lease_status AS l";
    shop.until(driver, "1").await;
    let mut second = shop.spawn(&["--yes", "--json", WIDEN], &[]);
    let mut said = BufReader::new(second.stderr.take().expect("piped")).lines();
    until_it_says(&mut said, "Another `lockkeeper alter` works on it").await;
    let faster = run(shop.lockkeeper(&["throttle", "1", "0"])).await;
    assert_eq!(code(&faster), 0);
    let (first, second, _) = tokio::join!(
        first.wait_with_output(),
        second.wait_with_output(),
        rest(&mut said)
    );
    let first = first.expect("its end");
    assert_eq!(code(&first), 0, "{}", err(&first));
    assert_eq!(done(&second.expect("its end"))["apply_id"], 1);
    let taken = "SELECT COUNT(*) FROM event_log AS e WHERE e.event IN ('lease_taken', 'recovered')";
    assert_eq!(
        shop.ask(taken).await.as_deref(),
        Some("0"),
        "nothing was taken from the first"
    );
    assert_eq!(shop.column_type().await, "bigint");
}

/// Who looks on takes over for good: a third one looks on in its turn, and takes nothing away from it.
#[tokio::test]
async fn who_takes_over_is_known_to_the_next_one() {
    let mut shop = Shop::new().await;
    let first = shop.spawn(&["--yes", "--throttle", "10", WIDEN], &[]);
    let driver = "SELECT COUNT(*) FROM lease_status AS l";
    shop.until(driver, "1").await;
    let mut second = shop.spawn(&["--yes", "--json", WIDEN], &[]);
    let mut said = BufReader::new(second.stderr.take().expect("piped")).lines();
    until_it_says(&mut said, "Another `lockkeeper alter` works on it").await;
    signal(&first, Signal::INT);
    let ended = first.wait_with_output().await.expect("its end");
    assert_eq!(code(&ended), 130, "{}", err(&ended));
    until_it_says(&mut said, "this one goes on with it").await;
    let mut third = shop.spawn(&["--yes", "--json", WIDEN], &[]);
    let mut told = BufReader::new(third.stderr.take().expect("piped")).lines();
    until_it_says(&mut told, "Another `lockkeeper alter` works on it").await;
    let faster = run(shop.lockkeeper(&["throttle", "1", "0"])).await;
    assert_eq!(code(&faster), 0);
    let (second, third, ..) = tokio::join!(
        second.wait_with_output(),
        third.wait_with_output(),
        rest(&mut said),
        rest(&mut told)
    );
    for output in [second, third] {
        assert_eq!(done(&output.expect("its end"))["apply_id"], 1);
    }
    let taken = "SELECT COUNT(*) FROM event_log AS e WHERE e.event = 'lease_taken'";
    assert_eq!(shop.ask(taken).await.as_deref(), Some("0"));
    assert_eq!(shop.column_type().await, "bigint");
}

/// The lock goes with its session, and is taken again with the next one.
#[tokio::test]
async fn a_lost_session_does_not_hide_who_works_on_it() {
    let mut shop = Shop::new().await;
    let first = shop.spawn(&["--yes", "--throttle", "10", WIDEN], &[]);
    let driver = "SELECT COUNT(*) FROM lease_status AS l";
    shop.until(driver, "1").await;
    // Of this test: others may share the server.
    let holder = format!(
        "SELECT t.PROCESSLIST_ID
           FROM performance_schema.metadata_locks AS l
           JOIN performance_schema.threads        AS t
             ON t.THREAD_ID = l.OWNER_THREAD_ID
          WHERE l.OBJECT_TYPE = 'USER LEVEL LOCK'
            AND l.OBJECT_NAME LIKE 'lockkeeper:alter:%'
            AND t.PROCESSLIST_DB = '{}'",
        shop.database.schema()
    );
    let lost = shop.ask(&holder).await.expect("who has the lock");
    support::run(&mut shop.session, format!("KILL {lost}")).await;
    let other = format!("SELECT ({holder}) <> {lost}");
    shop.until(&other, "1").await;

    let mut second = shop.spawn(&["--yes", WIDEN], &[]);
    let mut said = BufReader::new(second.stdout.take().expect("piped")).lines();
    until_it_says(&mut said, "Another `lockkeeper alter` works on it").await;
    let faster = run(shop.lockkeeper(&["throttle", "1", "0"])).await;
    assert_eq!(code(&faster), 0);
    let (first, second, _) = tokio::join!(
        first.wait_with_output(),
        second.wait_with_output(),
        rest(&mut said)
    );
    for output in [first, second] {
        let output = output.expect("its end");
        assert_eq!(code(&output), 0, "{}", err(&output));
    }
    let taken = "SELECT COUNT(*) FROM event_log AS e WHERE e.event = 'lease_taken'";
    assert_eq!(shop.ask(taken).await.as_deref(), Some("0"));
}

#[tokio::test]
async fn what_stands_in_the_way_is_said_and_leaves_nothing_behind() {
    let mut shop = Shop::new().await;
    for (statement, reason) in [
        ("ALTER TABLE nix MODIFY total BIGINT", "there is no table"),
        ("ALTER TABLE keyless MODIFY total BIGINT", "unique key"),
        ("ALTER TABLE orders MODIFY total BIGNT", "syntax"),
        ("ALTR TABLE orders MODIFY total BIGINT", "ALTR"),
        ("ALTER TABLE orders MODIFY totals BIGINT", "totals"),
    ] {
        for way in ["--yes", "--dry-run"] {
            let output = run(shop.alter(&[way, statement])).await;
            let said = err(&output);
            assert_eq!(code(&output), 1, "{statement}: {said}");
            assert!(said.contains(reason), "{statement}: {said}");
            assert!(said.contains("nothing was changed"), "{statement}: {said}");
        }
    }
    let unasked = run(shop.alter(&[WIDEN])).await;
    assert!(
        code(&unasked) == 2 && err(&unasked).contains("--yes"),
        "{}",
        err(&unasked)
    );
    let mut stranger = shop.database.settings().clone();
    stranger.credentials.password = lockkeeper::config::Secret::new("hunter2");
    let arguments = ["alter", "--yes", "--schema", &shop.schema, WIDEN];
    let wrong = run(shop.command(&stranger, &arguments)).await;
    let said = err(&wrong);
    assert!(code(&wrong) == 1 && said.contains("password"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    assert!(!shop.is_installed().await);
    assert_eq!(shop.artifacts().await, 0);
}

#[tokio::test]
async fn a_dry_run_shows_the_plan_and_changes_nothing() {
    let mut shop = Shop::new().await;
    let output = run(shop.alter(&["--dry-run", "--json", WIDEN])).await;
    let way = &done(&output)["planned"][0]["way_in_words"];
    assert_eq!(way, "copy while the application writes");
    assert!(
        err(&output).contains("copy while the application writes"),
        "{}",
        err(&output)
    );
    assert!(!shop.is_installed().await);
    assert_eq!(shop.artifacts().await, 0);
    assert_eq!(shop.column_type().await, "int");
}

#[tokio::test]
async fn a_server_that_is_registered_already_keeps_its_name_and_its_tables_their_holder() {
    let database = TestDatabase::fresh().await;
    database.register_deployments(1).await;
    let mut shop = Shop::of(database, 1000).await;
    let submit = [
        "submit",
        "--yes",
        "--schema",
        &shop.schema,
        "-e",
        "ALTER TABLE orders ADD COLUMN y INT",
    ];
    assert_eq!(code(&run(shop.lockkeeper(&submit)).await), 0);
    let held = run(shop.alter(&["--yes", WIDEN])).await;
    assert!(
        code(&held) == 1 && err(&held).contains("held by apply 1"),
        "{}",
        err(&held)
    );
    let applies = "SELECT COUNT(*) FROM apply_status AS a";
    assert_eq!(
        shop.ask(applies).await.as_deref(),
        Some("1"),
        "nothing half done"
    );
    assert_eq!(shop.artifacts().await, 0);

    assert_eq!(code(&run(shop.lockkeeper(&["cancel", "1"])).await), 0);
    let object = done(&run(shop.alter(&["--yes", "--json", WIDEN])).await);
    assert_eq!(object["deployments"][0]["deployment"], "d0");
    assert_eq!(shop.column_type().await, "bigint");
    let deployments = "SELECT COUNT(*) FROM deployment_status AS d";
    assert_eq!(shop.ask(deployments).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_deferred_swap_waits_for_its_word_and_a_revert_window_for_its_end() {
    let mut shop = Shop::new().await;
    let deferred = ["--yes", "--defer-cutover", "--revert-window", "1", WIDEN];
    let mut child = shop.spawn(&deferred, &[]);
    let mut said = BufReader::new(child.stdout.take().expect("piped")).lines();
    until_it_says(&mut said, "`lockkeeper cutover 1`").await;
    assert_eq!(shop.column_type().await, "int");
    assert_eq!(code(&run(shop.lockkeeper(&["cutover", "1"])).await), 0);
    let (output, said) = tokio::join!(child.wait_with_output(), rest(&mut said));
    let output = output.expect("its end");
    assert_eq!(code(&output), 0, "{said}{}", err(&output));
    assert!(said.contains("`lockkeeper revert 1`"), "{said}");
    assert_eq!(shop.column_type().await, "bigint");
}

#[tokio::test]
async fn what_somebody_cancels_ends_with_who_and_why_and_may_begin_anew() {
    let mut shop = Shop::new().await;
    let child = shop.spawn(&["--yes", "--throttle", "10", WIDEN], &[]);
    let state = "SELECT a.state FROM apply_status AS a WHERE a.apply_id = 1";
    shop.until(state, "running").await;
    let cancel = run(shop.lockkeeper(&["cancel", "1", "-m", "wrong day"])).await;
    assert_eq!(code(&cancel), 0);
    let output = child.wait_with_output().await.expect("its end");
    let said = err(&output);
    assert_eq!(code(&output), 1, "{said}");
    assert!(
        said.contains("is cancelled") && said.contains("wrong day"),
        "{said}"
    );
    assert_eq!(shop.artifacts().await, 0, "its shadow table is gone");
    let anew = done(&run(shop.alter(&["--yes", "--json", WIDEN])).await);
    assert_eq!(
        (&anew["apply_id"], &anew["state"]),
        (&2.into(), &"completed".into())
    );
}

#[tokio::test]
async fn what_was_stopped_waits_until_the_same_command_starts_it_again() {
    let mut shop = Shop::new().await;
    let child = shop.spawn(&["--yes", "--throttle", "10", WIDEN], &[]);
    let state = "SELECT a.state FROM apply_status AS a";
    shop.until(state, "running").await;
    assert_eq!(code(&run(shop.lockkeeper(&["stop", "1"])).await), 0);
    shop.until(state, "stopped").await;
    signal(&child, Signal::TERM);
    let output = child.wait_with_output().await.expect("its end");
    assert_eq!(code(&output), 130, "{}", err(&output));
    let started = run(shop.alter(&["--yes", "--json", "--throttle", "0", WIDEN])).await;
    assert_eq!(done(&started)["apply_id"], 1);
    assert_eq!(shop.column_type().await, "bigint");
}

#[tokio::test]
async fn an_account_that_may_not_install_is_told_what_to_run() {
    let mut shop = Shop::new().await;
    let grants = [
        "REPLICATION SLAVE, REPLICATION CLIENT, PROCESS ON *.*".to_owned(),
        format!("ALL ON {}.*", shop.schema),
    ];
    let application = shop
        .database
        .account(&grants.each_ref().map(String::as_str))
        .await;
    let arguments = ["alter", "--yes", "--schema", &shop.schema, WIDEN];
    let output = run(shop.command(&application, &arguments)).await;
    let said = err(&output);
    assert_eq!(code(&output), 1, "{said}");
    assert!(
        said.contains("lockkeeper install --print") && said.contains("GRANT"),
        "{said}"
    );
    assert!(!shop.is_installed().await);
}

/// Nobody asked for that with this command.
#[tokio::test]
async fn what_else_is_under_way_on_the_server_is_told() {
    let shop = Shop::new().await;
    done(&run(shop.alter(&["--yes", "--json", "ALTER TABLE orders ADD COLUMN x INT"])).await);
    let schema = shop.schema.clone();
    let other = "CREATE TABLE beside (id INT PRIMARY KEY)";
    let submit = [
        "submit",
        "--schema",
        &schema,
        "-e",
        other,
        "--defer-cutover",
        "--yes",
    ];
    let submitted = run(shop.lockkeeper(&submit)).await;
    assert_eq!(code(&submitted), 0, "{}", err(&submitted));
    let output = run(shop.alter(&["--yes", WIDEN])).await;
    assert_eq!(code(&output), 0, "{}{}", out(&output), err(&output));
    let told = "Apply 2 of this server is not settled either";
    assert!(out(&output).contains(told), "{}", out(&output));
}

/// What the driver does after the end of a change holds up neither its end nor what is said of it.
#[tokio::test]
async fn a_completed_change_is_told_of_while_a_former_table_is_being_dropped() {
    let mut shop = Shop::new().await;
    done(&run(shop.alter(&["--yes", "--json", WIDEN])).await);
    let ours = shop.tables_of_ours().await;
    let held = ours.iter().find(|name| !name.ends_with("_fence"));
    let held = held.expect("the former table");
    // Due for years.
    let (name, _) = held.rsplit_once('_').expect("a moment at its end");
    let due = format!("{name}_20200101000000");
    let mut reader = shop.database.connect().await;
    for statement in [
        format!("RENAME TABLE {0}.{held} TO {0}.{due}", shop.schema),
        format!("LOCK TABLES {}.{due} READ", shop.schema),
    ] {
        support::run(&mut reader, statement).await;
    }
    let output = run(shop.alter(&["--yes", "ALTER TABLE orders ADD COLUMN x INT"])).await;
    assert_eq!(code(&output), 0, "{}{}", out(&output), err(&output));
    assert!(
        out(&output).contains("Apply 2 is completed."),
        "{}",
        out(&output)
    );
    assert!(
        !err(&output).contains("did not let the change end"),
        "{}",
        err(&output)
    );
    support::run(&mut reader, "UNLOCK TABLES".to_owned()).await;
}
