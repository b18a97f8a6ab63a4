//! The process that runs mysqld and outlives nobody: the Rust side of `supervisor.sh`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::error::{ServerError, file_error};

const SCRIPT: &str = include_str!("supervisor.sh");

/// Starts a shell that ends something once its input ends. In a group of its own: a terminal's Ctrl-C reaches us alone.
pub(super) fn stand_by(shell: &mut Command, input: Stdio) -> Result<Child, ServerError> {
    shell
        .stdin(input)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .process_group(0)
        .spawn()
        .map_err(|source| ServerError::Spawn {
            program: "sh".to_owned(),
            source,
        })
}

/// Our end of a server's lifeline. The server ends when the last of these is closed.
#[derive(Debug)]
pub(super) struct Lifeline {
    writer: File,
    /// `None` for one who joined a server that another process had started.
    supervisor: Option<Child>,
}

impl Lifeline {
    /// Starts the supervisor of `folder`; the server itself starts with [`Lifeline::say`] `start`.
    pub(super) fn spawn(folder: &Path, command: &[OsString]) -> Result<Self, ServerError> {
        let fifo = fifo(folder);
        let made = Command::new("mkfifo")
            .args(["-m", "600"])
            .arg(&fifo)
            .stdin(Stdio::null())
            .status()
            .map_err(|source| ServerError::Spawn {
                program: "mkfifo".to_owned(),
                source,
            })?;
        if !made.success() {
            return Err(file_error("a FIFO cannot be made:", &fifo)(
                std::io::Error::other(made.to_string()),
            ));
        }
        // Opened for reading first, and without waiting for a writer, so that neither open can hang.
        let reader = File::options()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(&fifo)
            .map_err(file_error("cannot be opened:", &fifo))?;
        let writer = File::options()
            .write(true)
            .open(&fifo)
            .map_err(file_error("cannot be opened:", &fifo))?;
        rustix::fs::fcntl_setfl(&reader, OFlags::empty())
            .map_err(|error| file_error("cannot be set up:", &fifo)(error.into()))?;
        // A file, so that the process list shows its name and not its text.
        let script = folder.join("supervisor.sh");
        fs::write(&script, SCRIPT).map_err(file_error("cannot be written:", &script))?;
        let mut shell = Command::new("sh");
        shell.arg(&script).arg(folder).args(command);
        let supervisor = stand_by(&mut shell, Stdio::from(reader))?;
        Ok(Self {
            writer,
            supervisor: Some(supervisor),
        })
    }

    /// Takes hold of a server that runs already; `None` if nobody reads any more.
    pub(super) fn join(folder: &Path) -> Option<Self> {
        let writer = File::options()
            .write(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(fifo(folder))
            .ok()?;
        let mut lifeline = Self {
            writer,
            supervisor: None,
        };
        lifeline.say("here").ok()?;
        Some(lifeline)
    }

    pub(super) fn say(&mut self, word: &str) -> std::io::Result<()> {
        // One write, so that words of several users don't mix.
        self.writer.write_all(format!("{word}\n").as_bytes())
    }

    /// Closing our end is no longer waited for: others may hold theirs for long.
    pub(super) fn share(&mut self) {
        self.supervisor = None;
    }

    /// Lets the server run on without us.
    pub(super) fn leave_running(mut self) {
        if self.say("keep").is_ok()
            && let Some(mut supervisor) = self.supervisor.take()
        {
            // It answers by ending, and must have read the word before the lifeline closes.
            let _ = supervisor.wait();
        }
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        let Some(mut supervisor) = self.supervisor.take() else {
            return;
        };
        // Closes the lifeline now, and waits until the server and its folder are gone.
        if let Ok(null) = File::options().write(true).open("/dev/null") {
            self.writer = null;
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while let Ok(None) = supervisor.try_wait()
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn fifo(folder: &Path) -> PathBuf {
    folder.join("lifeline")
}

/// What the supervisor has written down about the `generation`th start.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Run {
    NotYet,
    Running(u32),
    Ended,
}

pub(super) fn run_of(folder: &Path, generation: u32) -> Run {
    if folder.join(format!("exit.{generation}")).exists() {
        return Run::Ended;
    }
    fs::read_to_string(folder.join(format!("pid.{generation}")))
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .map_or(Run::NotYet, Run::Running)
}
