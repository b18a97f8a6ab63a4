//! What an apply's `engine` object may say: all of it is read here.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::EngineError;

/// Options of the engine. Unknown ones are refused: a misspelt limit must not be no limit.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Copies begin though the disk has less room than their tables take.
    pub allow_little_room: bool,
    pub allow_lossy: Consent,
    /// How long a chunk should take.
    pub chunk_seconds: f64,
    /// Chunks that run at a time.
    pub copy_threads: u32,
    /// After this much time of attempts the cutover fails, retryable.
    pub cutover_give_up_seconds: u64,
    /// How long the tables may be locked in one attempt to swap.
    pub cutover_lock_seconds: f64,
    /// How long other queries may wait behind one attempt for the lock.
    pub cutover_lock_wait_ms: u64,
    /// How long a table that is no longer used stays in its holding name.
    pub hold_old_table_seconds: u64,
    pub index_build: IndexBuild,
    /// Sessions that have used the table for at least this long are killed, if they may be.
    pub kill_blockers_after_seconds: Option<u64>,
    /// What the user's statements are read under; `None` for the server's.
    pub sql_mode: Option<String>,
    /// What the copy yields to.
    pub throttle: Limits,
    /// As `sql_mode`.
    pub time_zone: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            allow_little_room: false,
            allow_lossy: Consent::default(),
            chunk_seconds: 0.5,
            copy_threads: 2,
            cutover_give_up_seconds: 300,
            cutover_lock_seconds: 3.0,
            cutover_lock_wait_ms: 500,
            hold_old_table_seconds: 86_400,
            index_build: IndexBuild::default(),
            kill_blockers_after_seconds: None,
            sql_mode: None,
            throttle: Limits::default(),
            time_zone: None,
        }
    }
}

/// What an option takes.
enum Takes {
    Whole(RangeInclusive<u64>),
    Number(RangeInclusive<f64>),
    /// In words.
    Other(&'static str),
}

/// Each field of [`Options`] by its name.
const OPTIONS: [(&str, Takes); 13] = [
    ("allow_little_room", Takes::Other("true or false")),
    (
        "allow_lossy",
        Takes::Other("true, false or a list of columns"),
    ),
    ("chunk_seconds", Takes::Number(0.01..=10.0)),
    ("copy_threads", Takes::Whole(1..=16)),
    ("cutover_give_up_seconds", Takes::Whole(1..=86_400)),
    ("cutover_lock_seconds", Takes::Number(0.1..=60.0)),
    ("cutover_lock_wait_ms", Takes::Whole(10..=60_000)),
    ("hold_old_table_seconds", Takes::Whole(0..=31_536_000)),
    ("index_build", Takes::Other("auto, deferred or inline")),
    ("kill_blockers_after_seconds", Takes::Whole(1..=86_400)),
    (
        "sql_mode",
        Takes::Other("a text, as the server's variable does"),
    ),
    ("throttle", Takes::Other("an object of limits")),
    (
        "time_zone",
        Takes::Other("a text, as the server's variable does"),
    ),
];

impl Takes {
    /// Whether the value is in range; types that are read by their fields tell themselves.
    fn may_be(&self, value: &Value) -> bool {
        match self {
            Self::Whole(range) => value.as_u64().is_some_and(|n| range.contains(&n)),
            Self::Number(range) => value.as_f64().is_some_and(|n| range.contains(&n)),
            Self::Other(_) => true,
        }
    }

    fn in_words(&self) -> String {
        match self {
            Self::Whole(range) => {
                format!("a whole number from {} to {}", range.start(), range.end())
            }
            Self::Number(range) => format!("a number from {} to {}", range.start(), range.end()),
            Self::Other(words) => (*words).to_owned(),
        }
    }
}

impl Options {
    /// Reads the object. `null` is an option's default.
    ///
    /// # Errors
    ///
    /// Permanent, with the option that is not known or takes something else.
    pub fn read(options: &Value) -> Result<Self, EngineError> {
        if options.is_null() {
            return Ok(Self::default());
        }
        let Some(object) = options.as_object() else {
            return Err(EngineError::permanent(format!(
                "the engine's options are {options}; pass a JSON object"
            )));
        };
        let mut given = object.clone();
        given.retain(|_, value| !value.is_null());
        for (name, value) in &given {
            check(name, value)?;
        }
        let read: Self = serde_json::from_value(Value::Object(given))
            .map_err(|error| EngineError::permanent(format!("the engine's options: {error}")))?;
        read.throttle.check()?;
        Ok(read)
    }

    pub fn chunk_time(&self) -> Duration {
        Duration::from_secs_f64(self.chunk_seconds)
    }

    pub fn cutover_give_up_after(&self) -> Duration {
        Duration::from_secs(self.cutover_give_up_seconds)
    }

    pub fn cutover_lock_limit(&self) -> Duration {
        Duration::from_secs_f64(self.cutover_lock_seconds)
    }

    pub fn cutover_lock_wait(&self) -> Duration {
        Duration::from_millis(self.cutover_lock_wait_ms)
    }

    pub fn kill_blockers_after(&self) -> Option<Duration> {
        self.kill_blockers_after_seconds.map(Duration::from_secs)
    }
}

fn check(name: &str, value: &Value) -> Result<(), EngineError> {
    let Some((_, takes)) = OPTIONS.iter().find(|(known, _)| *known == name) else {
        return Err(EngineError::permanent(format!(
            "engine option \"{name}\" is not known; known are {}",
            OPTIONS.map(|(name, _)| name).join(", ")
        )));
    };
    let alone = Value::Object([(name.to_owned(), value.clone())].into_iter().collect());
    let why = match serde_json::from_value::<Options>(alone) {
        Ok(_) if takes.may_be(value) => return Ok(()),
        // Which of the limits it is.
        Err(error) if name == "throttle" => format!(": {error}"),
        Ok(_) | Err(_) => String::new(),
    };
    Err(EngineError::permanent(format!(
        "engine option {name} is {value}; it takes {}{why}",
        takes.in_words()
    )))
}

/// Whether values may change without an error of the server's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Consent {
    OfAll(bool),
    Of(Vec<String>),
}

impl Default for Consent {
    fn default() -> Self {
        Self::OfAll(false)
    }
}

impl Consent {
    pub fn covers(&self, column: &str) -> bool {
        match self {
            Self::OfAll(all) => *all,
            Self::Of(names) => names.iter().any(|name| name.eq_ignore_ascii_case(column)),
        }
    }
}

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

/// Limits of an apply's `throttle` object. Each is a reason to wait when it is passed.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// `host` or `host:port` of replicas, asked with the deployment's own credentials.
    pub replicas: Vec<String>,
    pub replica_lag_seconds: Option<f64>,
    pub threads_running: Option<u64>,
    pub history_list_length: Option<u64>,
    /// Answers one value; anything but 0 and NULL is a reason to wait.
    pub query: Option<String>,
}

impl Limits {
    /// # Errors
    ///
    /// Permanent for limits that mean nothing.
    fn check(&self) -> Result<(), EngineError> {
        let refuse = |text: &str| Err(EngineError::permanent(format!("throttle: {text}")));
        if self
            .replica_lag_seconds
            .is_some_and(|s| s.is_nan() || s < 0.0)
        {
            return refuse("replica_lag_seconds is a number from 0 on");
        }
        if self.replica_lag_seconds.is_some() && self.replicas.is_empty() {
            return refuse(
                "replica_lag_seconds needs the replicas' addresses: \"replicas\": [\"host:port\"]",
            );
        }
        if self.replica_lag_seconds.is_none() && !self.replicas.is_empty() {
            return refuse("replicas need a limit: replica_lag_seconds");
        }
        if let Some(bad) = self.replicas.iter().find(|r| address(r).is_none()) {
            return refuse(&format!("'{bad}' is no host:port"));
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Host and port of a replica; `None` for what is no address.
pub fn address(replica: &str) -> Option<(String, u16)> {
    let (host, port) = match replica.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (replica, 3306),
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
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
        assert!(message(json!({"sql_mode": 1})).contains("sql_mode is 1; it takes a text"));
        assert!(message(json!({"throttle": {"lag": 1}})).contains("unknown field `lag`"));
        assert!(message(json!([])).contains("JSON object"));
    }

    #[test]
    fn bounds_belong_to_the_range() {
        let read = |options: Value| Options::read(&options);
        for (name, takes) in OPTIONS {
            let (within, beyond) = match takes {
                Takes::Whole(range) => (json!(range.end()), json!(range.end() + 1)),
                Takes::Number(range) => (json!(range.end()), json!(range.end() * 2.0)),
                Takes::Other(_) => continue,
            };
            assert!(read(json!({ name: within })).is_ok(), "{name}");
            assert!(read(json!({ name: beyond })).is_err(), "{name}");
            let default = read(json!({ name: null })).unwrap();
            assert_eq!(default, Options::default(), "{name}");
        }
    }

    #[test]
    fn limits_that_mean_nothing_are_refused() {
        let limits = |limits: Value| Options::read(&json!({ "throttle": limits }));
        assert!(limits(json!({"replicas": ["r1:3307"], "replica_lag_seconds": 2})).is_ok());
        for bad in [
            json!({"replica_lag_seconds": 2}),
            json!({"replicas": ["r1"]}),
            json!({"replicas": [":x"], "replica_lag_seconds": 2}),
            json!({"replica_lag": 2}),
        ] {
            assert!(limits(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_page_on_changes_has_every_option() {
        let page = include_str!("../../docs/changes.md");
        for (name, _) in OPTIONS {
            assert!(page.contains(&format!("| `{name}` |")), "{name}");
        }
    }
}
