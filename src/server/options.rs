//! How a private server is started, and what it survives.

/// What survives a crash of the machine. A crash of mysqld alone loses nothing under either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Each commit is synced to disk, as in production: for demos and measurements.
    Durable,
    /// Commits reach the operating system only: for tests.
    Relaxed,
}

/// How a private server is started.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Shows in the name of its folder.
    pub name: String,
    pub durability: Durability,
    /// More arguments of mysqld; they win over ours.
    pub flags: Vec<String>,
}

impl ServerOptions {
    pub fn durable(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            durability: Durability::Durable,
            flags: Vec::new(),
        }
    }

    pub fn relaxed(name: &str) -> Self {
        Self {
            durability: Durability::Relaxed,
            ..Self::durable(name)
        }
    }

    #[must_use]
    pub fn flag(mut self, flag: impl Into<String>) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// Those of the caller's that a data folder is initialised with, for good.
    pub(super) fn settled(&self) -> Vec<&String> {
        let settles = |flag: &&String| flag.starts_with("--lower-case-table-names");
        self.flags.iter().filter(settles).collect()
    }

    /// The server settings that Lockkeeper asks for, then the caller's.
    pub(super) fn arguments(&self) -> Vec<String> {
        let (sync_binlog, flush_log) = match self.durability {
            Durability::Durable => (1, 1),
            Durability::Relaxed => (0, 2),
        };
        let mut arguments: Vec<String> = [
            "--gtid-mode=ON",
            "--enforce-gtid-consistency=ON",
            // Deprecated with its only useful value; still to be said to 8.0.
            "--loose-binlog-format=ROW",
            "--binlog-row-image=FULL",
            "--performance-schema=ON",
            "--skip-name-resolve=ON",
            "--max-connections=500",
            "--innodb-buffer-pool-size=128M",
            "--loose-innodb-redo-log-capacity=128M",
            "--loose-mysqlx=OFF",
            "--secure-file-priv=NULL",
            "--log-error-verbosity=2",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.push(format!("--sync-binlog={sync_binlog}"));
        arguments.push(format!("--innodb-flush-log-at-trx-commit={flush_log}"));
        arguments.push(format!("--server-id={}", rand::random_range(1..u32::MAX)));
        arguments.extend(self.flags.iter().cloned());
        arguments
    }
}
