//! The program on a terminal, as a person has it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::{PATIENCE, TestDatabase, eventually, without_settings};

const ENTER_SCREEN: &str = "\u{1b}[?1049h";
const LEAVE_SCREEN: &str = "\u{1b}[?1049l";
const SHOW_CURSOR: &str = "\u{1b}[?25h";

/// `lockkeeper` on a terminal of its own.
pub struct Terminal {
    pub child: Child,
    pub keyboard: File,
    /// Kept open: what the program leaves behind is read when it has ended.
    terminal: OwnedFd,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    pub fn start(database: &TestDatabase, arguments: &[&str], columns: u16, rows: u16) -> Self {
        let program = [&[env!("CARGO_BIN_EXE_lockkeeper")], arguments].concat();
        Self::run(database, &program, columns, rows)
    }

    /// Any program; `$LOCKKEEPER` is ours.
    pub fn run(database: &TestDatabase, program: &[&str], columns: u16, rows: u16) -> Self {
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
        let child = without_settings(&mut Command::new("setsid"))
            .arg("--ctty")
            .args(program)
            .env("LOCKKEEPER", env!("CARGO_BIN_EXE_lockkeeper"))
            .env("LOCKKEEPER_URL", database.url())
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

    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("typed");
    }

    pub fn written(&self) -> String {
        let written = self.written.lock().expect("no panic meanwhile");
        String::from_utf8_lossy(&written).into_owned()
    }

    /// All of it as text.
    pub fn plain(&self) -> String {
        without_controls(&self.written()).replace('\r', "")
    }

    /// The latest frame that is complete, line by line, without colours.
    pub fn frame(&self) -> Vec<String> {
        let written = self.written();
        let complete = written.rsplit_once("\u{1b}[?2026l").map(|(all, _)| all);
        let frame = complete.and_then(|all| all.rsplit_once("\u{1b}[?2026h"));
        let Some((_, frame)) = frame else {
            return Vec::new();
        };
        let lines = frame.split("\u{1b}[2K").skip(1);
        lines.map(without_controls).collect()
    }

    pub async fn shows(&self, what: &str) {
        eventually(what, PATIENCE, || async {
            self.frame().iter().any(|line| line.contains(what))
        })
        .await;
    }

    /// Whatever it writes, a question among it.
    pub async fn says(&self, what: &str) {
        eventually(what, PATIENCE, || async { self.written().contains(what) }).await;
    }

    pub async fn end(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("it has ended", PATIENCE, || {
            status = self.child.try_wait().expect("a child");
            std::future::ready(status.is_some())
        })
        .await;
        status.expect("it has ended")
    }

    /// The user's own screen and cursor are back, and what is typed is shown again.
    pub async fn is_left_clean(&self, says: &str) {
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

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn resize(terminal: &File, columns: u16, rows: u16) {
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
