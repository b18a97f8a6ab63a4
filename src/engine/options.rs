//! What an apply's `engine` object may say.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::EngineError;
use super::throttle::Limits;

/// When secondary indexes of the shadow are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IndexBuild {
    /// After the copy where no replica is attached, else row by row.
    #[default]
    Auto,
    Deferred,
    /// Row by row. Unique indexes are built after the copy all the same: only then can a duplicate
    /// be told from a value that is on its way from one row to another.
    Inline,
}

/// Options of the engine. Unknown ones are refused: a misspelt limit must not be no limit.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Chunks that run at a time.
    pub copy_threads: u32,
    /// How long a chunk should take.
    pub chunk_seconds: f64,
    pub index_build: IndexBuild,
    /// How long the tables may be locked in one attempt to swap.
    pub cutover_lock_seconds: f64,
    /// What the copy yields to.
    pub throttle: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            copy_threads: 2,
            chunk_seconds: 0.5,
            index_build: IndexBuild::default(),
            cutover_lock_seconds: 3.0,
            throttle: Limits::default(),
        }
    }
}

/// All options, those that are read elsewhere among them.
const NAMES: [&str; 12] = [
    "allow_lossy",
    "chunk_seconds",
    "copy_threads",
    "cutover_give_up_seconds",
    "cutover_lock_seconds",
    "cutover_lock_wait_ms",
    "hold_old_table_seconds",
    "index_build",
    "kill_blockers_after_seconds",
    "sql_mode",
    "throttle",
    "time_zone",
];

fn check_names(options: &Value) -> Result<(), EngineError> {
    let Some(object) = options.as_object() else {
        return Err(EngineError::permanent(format!(
            "the engine's options are {options}; pass a JSON object"
        )));
    };
    let unknown = object.keys().find(|name| !NAMES.contains(&name.as_str()));
    if let Some(name) = unknown {
        return Err(EngineError::permanent(format!(
            "engine option \"{name}\" is not known; known are {}",
            NAMES.join(", ")
        )));
    }
    for name in ["sql_mode", "time_zone"] {
        match object.get(name) {
            None | Some(Value::Null | Value::String(_)) => {}
            Some(other) => {
                return Err(EngineError::permanent(format!(
                    "engine option {name} is {other}; it takes a text, as the server's variable does"
                )));
            }
        }
    }
    Ok(())
}

/// The option that cannot be read; serde's message does not say.
fn wrong(options: &Value) -> String {
    let one = |(name, value): (&String, &Value)| {
        let alone = Value::Object([(name.clone(), value.clone())].into_iter().collect());
        serde_json::from_value::<Options>(alone)
            .is_err()
            .then(|| name.clone())
    };
    let object = options.as_object().into_iter().flatten();
    object.into_iter().find_map(one).unwrap_or_default()
}

impl Options {
    /// Reads the object.
    ///
    /// # Errors
    ///
    /// Permanent for values out of range.
    pub fn read(options: &serde_json::Value) -> Result<Self, EngineError> {
        if options.is_null() {
            return Ok(Self::default());
        }
        check_names(options)?;
        let read: Self = serde_json::from_value(options.clone()).map_err(|e| {
            EngineError::permanent(format!("engine option {}: {e}", wrong(options)))
        })?;
        let in_range = (1..=16).contains(&read.copy_threads)
            && (0.01..=10.0).contains(&read.chunk_seconds)
            && (0.1..=60.0).contains(&read.cutover_lock_seconds);
        if !in_range {
            return Err(EngineError::permanent(
                "the engine's options: copy_threads is 1 to 16, chunk_seconds 0.01 to 10, \
                 cutover_lock_seconds 0.1 to 60",
            ));
        }
        read.throttle.check()?;
        Ok(read)
    }

    pub fn chunk_time(&self) -> Duration {
        Duration::from_secs_f64(self.chunk_seconds)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_misspelt_or_mistyped_option_is_named() {
        let message = |options: Value| Options::read(&options).unwrap_err().message();
        assert!(message(json!({"alow_lossy": true})).contains("\"alow_lossy\" is not known"));
        assert!(message(json!({"copy_threads": "a"})).contains("copy_threads"));
        assert!(message(json!({"sql_mode": 1})).contains("sql_mode"));
        assert!(message(json!([])).contains("JSON object"));
    }

    #[test]
    fn the_operators_guide_has_every_option() {
        let guide = include_str!("../../docs/operators.md");
        for name in NAMES {
            assert!(guide.contains(&format!("| `{name}` |")), "{name}");
        }
    }
}
