//! A server that runs as a process of this machine, in a private folder.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::error::{ServerError, file_error};
use super::find::blocking;
use super::options::ServerOptions;
use super::packages::last_lines;
use super::program::{Program, option};
use super::supervisor::{Lifeline, Run, run_of};
use super::{POLL, START_DEADLINE, root};
use crate::config::{ConnectionSettings, Secret};

/// A socket's path is stored in 108 bytes, 104 on some systems.
const LONGEST_SOCKET: usize = 100;

#[derive(Debug)]
pub(super) struct ProcessServer {
    // First, so that the server is gone before anything else of it.
    lifeline: Lifeline,
    program: Program,
    folder: PathBuf,
    port: u16,
    password: Secret,
    generation: u32,
}

impl ProcessServer {
    pub(super) async fn start(
        program: &Program,
        options: &ServerOptions,
    ) -> Result<Self, ServerError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match Self::try_start(program, options).await {
                // Somebody took the port between our look and the server's.
                Err(ServerError::Ended { log })
                    if attempt < 5 && log.contains("Address already in use") => {}
                other => return other,
            }
        }
    }

    async fn try_start(program: &Program, options: &ServerOptions) -> Result<Self, ServerError> {
        let (program, options) = (program.clone(), options.clone());
        let mut server = blocking(move || Self::prepare(program, &options)).await?;
        server.launch().await?;
        // The password has been set; nothing needs to know it from a file any more.
        let init = server.folder.join("init.sql");
        fs::write(&init, "").map_err(file_error("cannot be written:", &init))?;
        Ok(server)
    }

    /// The folder, a copy of the initialised data and the supervisor; not the server yet.
    fn prepare(program: Program, options: &ServerOptions) -> Result<Self, ServerError> {
        let folder = private_folder(&options.name)?;
        let result = Self::prepare_in(program, options, &folder);
        if result.is_err() {
            let _ = fs::remove_dir_all(&folder);
        }
        result
    }

    fn prepare_in(
        program: Program,
        options: &ServerOptions,
        folder: &Path,
    ) -> Result<Self, ServerError> {
        let data = folder.join("data");
        copy_folder(&program.template(&options.settled())?, &data)?;
        fs::create_dir(folder.join("tmp")).map_err(file_error("cannot be made:", folder))?;

        let password = Secret::new(hex::encode(rand::random::<[u8; 20]>()));
        let init = folder.join("init.sql");
        write_private(&init, &account_statements(&password, "127.0.0.1"))?;

        let port = free_port();
        let mut command: Vec<OsString> = vec![program.path().into()];
        command.extend(program.arguments(&data));
        command.extend(options.arguments().into_iter().map(OsString::from));
        command.extend([
            option("--tmpdir=", &folder.join("tmp")),
            option("--socket=", &folder.join("socket")),
            option("--pid-file=", &folder.join("mysqld.pid")),
            option("--init-file=", &init),
            "--bind-address=127.0.0.1".into(),
            format!("--port={port}").into(),
        ]);
        let lifeline = Lifeline::spawn(folder, &command)?;
        Ok(Self {
            lifeline,
            program,
            folder: folder.to_owned(),
            port,
            password,
            generation: 0,
        })
    }

    /// A server that another process has started.
    pub(super) fn joined(
        lifeline: Lifeline,
        program: Program,
        folder: PathBuf,
        port: u16,
        password: Secret,
    ) -> Self {
        Self {
            lifeline,
            program,
            folder,
            port,
            password,
            generation: 1,
        }
    }

    async fn launch(&mut self) -> Result<(), ServerError> {
        self.generation += 1;
        self.lifeline
            .say("start")
            .map_err(file_error("the supervisor has gone from", &self.folder))?;
        self.wait_until_ready().await
    }

    /// Ready means: it lets us in.
    async fn wait_until_ready(&self) -> Result<(), ServerError> {
        let deadline = Instant::now() + START_DEADLINE;
        let settings = self.administrator();
        loop {
            let attempt = tokio::time::timeout(START_DEADLINE, settings.probe()).await;
            let last = match attempt {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error.to_string(),
                Err(elapsed) => elapsed.to_string(),
            };
            if run_of(&self.folder, self.generation) == Run::Ended {
                return Err(ServerError::Ended { log: self.log() });
            }
            if Instant::now() > deadline {
                return Err(ServerError::NotReady {
                    seconds: START_DEADLINE.as_secs(),
                    last,
                    log: self.log(),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn log(&self) -> String {
        let text = fs::read(self.folder.join("error.log")).unwrap_or_default();
        last_lines(&String::from_utf8_lossy(&text), 20)
    }

    pub(super) fn administrator(&self) -> ConnectionSettings {
        root(self.port, &self.password)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn program(&self) -> &Program {
        &self.program
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn password(&self) -> &Secret {
        &self.password
    }

    pub(super) fn pid(&self) -> Option<u32> {
        match run_of(&self.folder, self.generation) {
            Run::Running(pid) => Some(pid),
            Run::NotYet | Run::Ended => None,
        }
    }

    pub(super) async fn kill(&self) -> Result<(), ServerError> {
        self.signal(Signal::KILL)?;
        while run_of(&self.folder, self.generation) != Run::Ended {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    pub(super) async fn restart(&mut self) -> Result<(), ServerError> {
        self.launch().await
    }

    pub(super) fn freeze(&self) -> Result<(), ServerError> {
        self.signal(Signal::STOP)
    }

    pub(super) fn thaw(&self) -> Result<(), ServerError> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), ServerError> {
        let pid = self
            .pid()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(Pid::from_raw)
            .ok_or_else(|| ServerError::Signal(std::io::Error::other("it does not run")))?;
        kill_process(pid, signal).map_err(|error| ServerError::Signal(error.into()))
    }

    pub(super) fn share(&mut self) {
        self.lifeline.share();
    }

    pub(super) fn leave_running(self) {
        self.lifeline.leave_running();
    }
}

/// root with a password, by socket and from `host`; kept out of the binary log.
pub(super) fn account_statements(password: &Secret, host: &str) -> String {
    let password = password.expose();
    format!(
        "SET SESSION sql_log_bin = 0;\n\
         ALTER USER 'root'@'localhost' IDENTIFIED BY '{password}';\n\
         CREATE USER IF NOT EXISTS 'root'@'{host}' IDENTIFIED BY '{password}';\n\
         GRANT ALL ON *.* TO 'root'@'{host}' WITH GRANT OPTION;\n"
    )
}

/// Only its owner enters it. In /tmp itself where the usual place would make the socket's path too long.
fn private_folder(name: &str) -> Result<PathBuf, ServerError> {
    let prefix = format!("lockkeeper-{name}-");
    let usual = std::env::temp_dir();
    let length = usual.as_os_str().len() + prefix.len() + "/XXXXXX/socket".len();
    let parent = if length > LONGEST_SOCKET {
        PathBuf::from("/tmp")
    } else {
        usual
    };
    let folder = tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(&parent)
        .map_err(file_error("a folder cannot be made in", &parent))?;
    // The supervisor removes it, also when we are killed.
    Ok(folder.keep())
}

pub(super) fn write_private(path: &Path, text: &str) -> Result<(), ServerError> {
    use std::io::Write as _;
    fs::File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(file_error("cannot be written:", path))
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), ServerError> {
    fs::create_dir(to).map_err(file_error("cannot be made:", to))?;
    for entry in fs::read_dir(from).map_err(file_error("cannot be read:", from))? {
        let entry = entry.map_err(file_error("cannot be read:", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_folder(&source, &target)?;
        } else {
            fs::copy(&source, &target).map_err(file_error("cannot be copied:", &source))?;
        }
    }
    Ok(())
}

/// Below the range that the system gives to outgoing connections, so that a restart finds its port free.
pub(super) fn free_port() -> u16 {
    loop {
        let port = rand::random_range(15_000..32_000);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
