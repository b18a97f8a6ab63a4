//! A private server is there when asked for, and gone with whoever held it.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lockkeeper::server::{Server, ServerError, ServerOptions};
use sqlx::{Connection as _, Executor as _};
use support::{PATIENCE, eventually};

async fn start() -> Server {
    Server::start(ServerOptions::relaxed("tests"))
        .await
        .expect("a private server")
}

fn runs(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

async fn text(server: &Server, query: &'static str) -> String {
    let mut session = server.administrator().connect().await.expect("a session");
    let value = sqlx::query_scalar::<_, String>(query)
        .fetch_one(&mut session)
        .await
        .expect("one text");
    session.close().await.expect("an orderly end");
    value
}

#[tokio::test]
async fn several_private_servers_run_side_by_side_with_the_settings_that_are_needed() {
    let servers = support::private_servers(2).await;
    let settings = "SELECT CONCAT_WS(' ', @@gtid_mode, @@log_bin, @@binlog_format, @@binlog_row_image, \
                    @@performance_schema, @@bind_address)";
    for server in &servers {
        assert_eq!(text(server, settings).await, "ON 1 ROW FULL 1 127.0.0.1");
    }
    let uuids = [
        text(&servers[0], "SELECT @@server_uuid").await,
        text(&servers[1], "SELECT @@server_uuid").await,
    ];
    assert_ne!(uuids[0], uuids[1]);
}

#[tokio::test]
async fn root_has_a_password_that_no_command_line_shows() {
    let server = start().await;
    let password = server.administrator().credentials.password.expose();
    for process in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let arguments = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&arguments).contains(password));
    }
    let mut stranger = server.administrator().clone();
    stranger.credentials.password = lockkeeper::config::Secret::new("");
    let refused = stranger.probe().await.unwrap_err().to_string();
    assert!(refused.contains("Access denied"), "{refused}");
}

#[tokio::test]
async fn a_dropped_server_leaves_no_process_and_no_folder() {
    let server = start().await;
    let pid = server.pid().expect("a process of this machine");
    let folder = server.folder().expect("a folder").to_owned();
    assert!(runs(pid) && folder.exists());
    drop(server);
    eventually("neither is left", PATIENCE, async || {
        !runs(pid) && !folder.exists()
    })
    .await;
}

#[tokio::test]
async fn a_crashed_server_comes_back_with_every_committed_row() {
    let mut server = start().await;
    let mut session = server.administrator().connect().await.expect("a session");
    session
        .execute("CREATE DATABASE kept")
        .await
        .expect("a schema");
    session
        .execute("CREATE TABLE kept.t (id INT PRIMARY KEY)")
        .await
        .expect("a table");
    session
        .execute("INSERT INTO kept.t VALUES (1), (2)")
        .await
        .expect("two rows");

    server.kill().await.expect("killed");
    assert!(session.execute("DO 0").await.is_err());
    server.restart().await.expect("restarted");

    let rows = text(&server, "SELECT CAST(COUNT(*) AS CHAR) FROM kept.t").await;
    assert_eq!(rows, "2");
}

#[tokio::test]
async fn a_frozen_server_answers_nothing_until_it_is_thawed() {
    let server = start().await;
    let address = server.administrator().clone();
    server.freeze().await.expect("frozen");
    if let Some(pid) = server.pid() {
        eventually("it stands still", PATIENCE, async || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.expect("a process").contains(") T ")
        })
        .await;
    }
    let question = tokio::spawn(async move { address.probe().await });
    server.thaw().await.expect("thawed");
    question.await.expect("no panic").expect("an answer");
}

#[tokio::test]
async fn a_server_that_does_not_start_shows_its_own_log() {
    let options = ServerOptions::relaxed("tests").flag("--no-such-option=1");
    let refused = Server::start(options).await.unwrap_err();
    assert!(matches!(refused, ServerError::Ended { .. }), "{refused}");
    assert!(refused.to_string().contains("no-such-option"), "{refused}");
}

#[tokio::test]
async fn all_tests_of_a_run_share_one_server() {
    let first = support::server().await;
    let pointer = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mysql-server");
    let second = Server::named_or_shared(&pointer, ServerOptions::relaxed("tests"))
        .await
        .expect("the same server");
    assert_eq!(first.administrator().port, second.administrator().port);
    drop(second);
    first
        .administrator()
        .probe()
        .await
        .expect("one user's end is not the other's");
}

/// What the next test starts as a process of its own: holds a server until it is killed.
#[tokio::test]
#[ignore = "a part of a_server_is_gone_after_its_owner_was_killed"]
async fn hold_a_server() {
    let server = start().await;
    let report = std::env::var("LOCKKEEPER_REPORT").expect("where to report");
    let folder = server.folder().expect("a folder").display();
    let pid = server.pid().expect("a process");
    std::fs::write(format!("{report}.new"), format!("{pid} {folder}")).expect("written");
    std::fs::rename(format!("{report}.new"), report).expect("renamed");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_server_is_gone_after_its_owner_was_killed() {
    let place = tempfile::tempdir().expect("a folder");
    let report = place.path().join("report");
    let mut owner = Command::new(std::env::current_exe().expect("this test"))
        .args(["--ignored", "--exact", "hold_a_server"])
        .env("LOCKKEEPER_REPORT", &report)
        .spawn()
        .expect("an owner");
    eventually("the owner's server is up", PATIENCE, || async {
        report.exists()
    })
    .await;
    let said = std::fs::read_to_string(&report).expect("a report");
    let (pid, folder) = said.split_once(' ').expect("pid and folder");
    let (pid, folder) = (pid.parse::<u32>().expect("a pid"), PathBuf::from(folder));
    assert!(runs(pid) && folder.exists());

    owner.kill().expect("SIGKILL");
    owner.wait().expect("its end");
    eventually("server and folder are gone", PATIENCE, || async {
        !runs(pid) && !folder.exists()
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_left_running_outlives_its_owner() {
    let server = start().await;
    let pid = server.pid().expect("a process of this machine");
    let folder = server.folder().expect("a folder").to_owned();
    let address = server.administrator().clone();
    server.leave_running();
    address.probe().await.expect("an answer");

    // As its owner is told to end it.
    let killed = Command::new("kill").arg(pid.to_string()).status();
    assert!(killed.expect("kill").success());
    // Nobody writes anything there after this.
    let end = folder.join("exit.1");
    eventually("the server ends", PATIENCE, || async {
        !runs(pid) && end.exists()
    })
    .await;
    std::fs::remove_dir_all(folder).expect("removed");
}

/// Wherever Docker has an image to run; `LOCKKEEPER_SERVER=container` makes every test use one.
#[tokio::test]
async fn a_server_in_a_container_can_be_frozen_killed_and_restarted_and_is_removed() {
    let options = ServerOptions::relaxed("tests");
    let mut server = match Server::start_in_container(options).await {
        Ok(Some(server)) => server,
        Ok(None) => {
            eprintln!("no container can be run here");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(text(&server, "SELECT @@gtid_mode").await, "ON");
    server.freeze().await.expect("frozen");
    let answer = tokio::time::timeout(Duration::from_millis(300), server.administrator().probe());
    assert!(answer.await.is_err(), "a frozen server has answered");
    server.thaw().await.expect("thawed");
    let mut session = server.administrator().connect().await.expect("a session");
    session
        .execute("CREATE DATABASE kept")
        .await
        .expect("a schema");
    server.kill().await.expect("killed");
    server.restart().await.expect("restarted");
    let kept =
        "SELECT s.schema_name FROM information_schema.schemata AS s WHERE s.schema_name = 'kept'";
    assert_eq!(text(&server, kept).await, "kept");

    let address = server.administrator().clone();
    drop(server);
    assert!(
        address.probe().await.is_err(),
        "the container still answers"
    );
}
