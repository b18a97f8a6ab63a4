//! How a change goes that `alter` or `submit` begins, as far as both say it.

use serde_json::{Map, Value};

use super::CliError;
use super::connect::{Parameter, Session};

/// A bound of the server's, in `sql/functions/_json_shape.sql`: said here before anybody has waited for a look.
pub(super) const LONGEST_SECONDS: i64 = 31_536_000;

#[derive(Debug, clap::Args)]
pub(super) struct Pace {
    /// Swap only after `lockkeeper cutover`
    #[arg(long)]
    defer_cutover: bool,
    /// Give up if nobody asks for the swap within this time
    #[arg(long, value_name = "SECONDS", requires = "defer_cutover", value_parser = clap::value_parser!(u32).range(1..=LONGEST_SECONDS))]
    defer_timeout: Option<u32>,
    /// Keep the old table current for this long after the swap, so that it can be reverted
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=LONGEST_SECONDS))]
    revert_window: Option<u32>,
    /// 0 full speed … 10 paused; `lockkeeper throttle` changes it meanwhile
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(0..=10))]
    throttle: Option<u8>,
    /// Options of the copy engine, a JSON object
    #[arg(long, value_name = "JSON")]
    engine: Option<String>,
}

impl Pace {
    /// Values are checked by the server: only what was said is passed on.
    pub fn options(&self) -> Result<Map<String, Value>, CliError> {
        let mut options = Map::new();
        let mut add = |name: &str, value: Option<Value>| {
            options.extend(value.map(|value| (name.to_owned(), value)));
        };
        add("defer_cutover", self.defer_cutover.then_some(true.into()));
        add("defer_timeout_seconds", self.defer_timeout.map(Value::from));
        add("revert_window_seconds", self.revert_window.map(Value::from));
        add("engine", self.engine()?);
        Ok(options)
    }

    pub fn engine(&self) -> Result<Option<Value>, CliError> {
        let parse = |text: &String| {
            serde_json::from_str(text).map_err(|error| {
                CliError::usage(format!("--engine is no JSON ({error}); pass an object"))
            })
        };
        self.engine.as_ref().map(parse).transpose()
    }

    pub fn has_revert_window(&self) -> bool {
        self.revert_window.is_some_and(|seconds| seconds > 0)
    }

    /// Slows an apply down, if that was asked for; `command` says so to people.
    pub async fn throttle(
        &self,
        session: &mut Session,
        apply: u64,
        command: &str,
    ) -> Result<(), CliError> {
        let Some(level) = self.throttle else {
            return Ok(());
        };
        let parameters = [
            Parameter::Number(apply),
            Parameter::Number(level.into()),
            Parameter::Text(Some(command)),
        ];
        session.call("apply_throttle", &parameters).await.map(drop)
    }
}
