//! The program as somebody without settings has it.

use std::process::{Child, Command, Output};

use lockkeeper::config;

/// The program, as somebody without any settings has it.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockkeeper"));
    without_settings(&mut command);
    command
}

/// Nothing that whoever runs the tests has set reaches the command.
pub fn without_settings(command: &mut Command) -> &mut Command {
    let variables = config::OPTIONS.iter().map(|option| option.variable);
    for variable in variables.chain(["LOCKKEEPER_CONFIG"]) {
        command.env_remove(variable);
    }
    command.env("XDG_CONFIG_HOME", "/nonexistent")
}

/// What a command has come to.
pub struct Answer {
    pub code: i32,
    pub out: String,
    pub err: String,
}

pub fn answer(mut command: Command) -> Answer {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the program runs");
    Answer {
        code: status.code().expect("an exit code"),
        out: String::from_utf8(stdout).expect("UTF-8"),
        err: String::from_utf8(stderr).expect("UTF-8"),
    }
}

/// Ends with the test, however that ends.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
