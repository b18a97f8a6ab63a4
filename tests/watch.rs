//! The live screen as its users meet it: through a terminal, with keys, resizes and signals.

mod support;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use support::{TestDatabase, eventually};

const PATIENCE: Duration = Duration::from_secs(30);
const ENTER_SCREEN: &str = "\u{1b}[?1049h";
const LEAVE_SCREEN: &str = "\u{1b}[?1049l";
const SHOW_CURSOR: &str = "\u{1b}[?25h";

/// `lockkeeper watch` on a terminal of its own.
struct Watch {
    child: Child,
    keyboard: File,
    /// Kept open: what the program leaves behind is read when it has ended.
    terminal: OwnedFd,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Watch {
    fn start(database: &TestDatabase, columns: u16, rows: u16) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&keyboard).expect("granted");
        unlockpt(&keyboard).expect("unlocked");
        let name = ptsname(&keyboard, Vec::new()).expect("its name");
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let terminal = rustix::fs::open(name, flags, Mode::empty()).expect("opened");
        let keyboard = File::from(keyboard);
        resize(&keyboard, columns, rows);
        let stdio = || terminal.try_clone().expect("one more");
        // Its controlling terminal, so that a resize is told to it as to any program in a window.
        let child = Command::new("setsid")
            .args(["--ctty", env!("CARGO_BIN_EXE_lockkeeper"), "watch"])
            .env("LOCKKEEPER_URL", database.url())
            .env("XDG_CONFIG_HOME", "/nonexistent")
            .env_remove("LOCKKEEPER_CONFIG")
            .env_remove("LOCKKEEPER_LOG")
            .env_remove("NO_COLOR")
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .expect("setsid, of util-linux");
        let written: Arc<Mutex<Vec<u8>>> = Arc::default();
        let mut screen = keyboard.try_clone().expect("one more");
        let reader = Arc::clone(&written);
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut part) {
                reader
                    .lock()
                    .expect("no panic meanwhile")
                    .extend(&part[..length]);
            }
        });
        Self {
            child,
            keyboard,
            terminal,
            written,
        }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("typed");
    }

    fn written(&self) -> String {
        let written = self.written.lock().expect("no panic meanwhile");
        String::from_utf8_lossy(&written).into_owned()
    }

    /// The latest frame that is complete, line by line, without colours.
    fn frame(&self) -> Vec<String> {
        let written = self.written();
        let complete = written.rsplit_once("\u{1b}[?2026l").map(|(all, _)| all);
        let frame = complete.and_then(|all| all.rsplit_once("\u{1b}[?2026h"));
        let Some((_, frame)) = frame else {
            return Vec::new();
        };
        let lines = frame.split("\u{1b}[2K").skip(1);
        lines.map(without_controls).collect()
    }

    async fn shows(&self, what: &str) {
        eventually(what, PATIENCE, || async {
            self.frame().iter().any(|line| line.contains(what))
        })
        .await;
    }

    async fn end(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("it has ended", PATIENCE, || {
            status = self.child.try_wait().expect("a child");
            std::future::ready(status.is_some())
        })
        .await;
        status.expect("it has ended")
    }

    /// The user's own screen and cursor are back, and what is typed is shown again.
    async fn is_left_clean(&self, says: &str) {
        eventually("it says so on the user's own screen", PATIENCE, || async {
            let written = self.written();
            let after = written.rsplit_once(LEAVE_SCREEN).map(|(_, after)| after);
            after.is_some_and(|after| after.contains(says) && !after.contains(ENTER_SCREEN))
        })
        .await;
        let written = self.written();
        assert!(written.contains(SHOW_CURSOR), "{written:?}");
        let modes = tcgetattr(&self.terminal).expect("modes").local_modes;
        assert!(modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(terminal: &File, columns: u16, rows: u16) {
    let size = Winsize {
        ws_col: columns,
        ws_row: rows,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).expect("resized");
}

/// Without the sequences that paint and place.
fn without_controls(text: &str) -> String {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            characters.find(|end| end.is_ascii_alphabetic());
        } else {
            plain.push(character);
        }
    }
    plain
}

async fn database_with_an_apply() -> TestDatabase {
    let database = TestDatabase::fresh().await;
    database.register_deployments(3).await;
    sqlx::query("CALL apply_submit('shop', 'ALTER TABLE orders ADD note INT', ?)")
        .bind(r#"{"name": "orders-note", "cutover_policy": "barrier"}"#)
        .execute(&mut database.connect().await)
        .await
        .expect("apply_submit");
    database
}

async fn is_in(database: &TestDatabase, state: &str) {
    eventually(state, PATIENCE, || async {
        let now: String = sqlx::query_scalar("SELECT a.state FROM apply_status AS a")
            .fetch_one(&mut database.connect().await)
            .await
            .expect("the apply");
        now == state
    })
    .await;
}

#[tokio::test]
async fn keys_stop_and_start_an_apply_after_a_yes_and_quit_leaves_the_terminal_clean() {
    let database = database_with_an_apply().await;
    let mut watch = Watch::start(&database, 80, 24);
    watch.shows("▶ 1 orders-note  pending").await;
    watch.press("s");
    watch.shows("Stop apply 1 (orders-note)?").await;
    watch.press("n");
    watch.press("s");
    watch.press("y");
    is_in(&database, "stopped").await;
    watch.shows("orders-note  stopped").await;
    watch.press("Sy");
    is_in(&database, "pending").await;
    watch.shows("orders-note  pending").await;
    let stops: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM control_request_log AS r WHERE r.command = 'stop'",
    )
    .fetch_one(&mut database.connect().await)
    .await
    .expect("counted");
    assert_eq!(stops, 1, "a no asks for nothing");
    watch.press("q");
    watch.shows("Quit? The changes go on").await;
    watch.press("y");
    assert!(watch.end().await.success());
    watch.is_left_clean("The changes go on without").await;
}

#[tokio::test]
async fn the_screen_follows_the_size_of_the_terminal_and_uses_its_last_column() {
    let database = database_with_an_apply().await;
    let watch = Watch::start(&database, 80, 24);
    for (columns, rows) in [(80, 24), (80, 40), (200, 50), (40, 10)] {
        resize(&watch.keyboard, columns, rows);
        let size = (usize::from(columns), usize::from(rows));
        eventually("a frame of the new size", PATIENCE, || async {
            let frame = watch.frame();
            let longest = frame.iter().map(|line| line.chars().count()).max();
            // The first line reaches from end to end, at every size.
            (longest, frame.len()) == (Some(size.0), size.1)
        })
        .await;
        let frame = watch.frame();
        assert!(frame.iter().any(|line| line.contains("q quit")) || columns < 60);
        assert!(
            frame.iter().any(|line| line.contains("orders-note")),
            "{frame:?}"
        );
    }
}

#[tokio::test]
async fn ctrl_c_and_a_signal_to_end_leave_the_terminal_clean() {
    let database = database_with_an_apply().await;
    let mut watch = Watch::start(&database, 80, 24);
    watch.shows("orders-note").await;
    watch.press("\u{3}");
    assert!(watch.end().await.success());
    watch.is_left_clean("The changes go on without").await;

    let mut watch = Watch::start(&database, 80, 24);
    watch.shows("orders-note").await;
    let pid = rustix::process::Pid::from_child(&watch.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("told to end");
    let status = watch.end().await;
    assert!(status.signal().is_none(), "it ends by itself: {status}");
    watch.is_left_clean("The changes go on without").await;
}
