//! The program as somebody without settings has it.

use std::process::Command;

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
