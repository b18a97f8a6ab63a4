//! One write of the application: what it does, and what its keys must hold afterwards.

use std::collections::BTreeMap;

use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor as _};

use super::journal::Journal;
use super::order::{Exact, INSERT, Order, READ};
use crate::server_error;

/// A statement on one row.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Insert {
        key: u64,
        order: Box<Order>,
    },
    /// An addition: a write that is lost before it spoils the sum.
    Progress {
        key: u64,
        add: i64,
        state: String,
        note: Option<String>,
        changed_at: String,
    },
    Details {
        key: u64,
        amount: String,
        weight: Option<Exact>,
        details: Option<String>,
        fingerprint: Option<Vec<u8>>,
    },
    Reference {
        key: u64,
        reference: String,
    },
    Delete {
        key: u64,
    },
    /// A change of the primary key.
    Rekey {
        from: u64,
        to: u64,
    },
}

/// Steps that take effect together, or never.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub steps: Vec<Step>,
    /// False: rolled back on purpose, and must leave no trace.
    pub commit: bool,
}

/// Why a write has no acknowledgement.
#[derive(Debug)]
pub(super) enum Failure {
    /// Whether it took effect is not known.
    Unknown(sqlx::Error),
    /// The server has said no; nothing took effect.
    Refused(sqlx::Error),
    /// A row that must be there was not found.
    RowMissing { key: u64 },
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        // 1053, 1927, 3169: the server or the session was ended in the middle of it.
        match server_error::number(&error) {
            Some(1053 | 1927 | 3169) | None => Self::Unknown(error),
            Some(_) => Self::Refused(error),
        }
    }
}

impl Write {
    pub fn one(step: Step) -> Self {
        Self {
            steps: vec![step],
            commit: true,
        }
    }

    /// What each key holds once the write has taken effect.
    pub fn after(&self, journal: &Journal) -> BTreeMap<u64, Option<Order>> {
        let mut after: BTreeMap<u64, Option<Order>> = BTreeMap::new();
        for step in &self.steps {
            let before = |key: u64| match after.get(&key) {
                Some(order) => order.clone(),
                None => journal.expected(key).cloned(),
            };
            match step {
                Step::Insert { key, order } => {
                    after.insert(*key, Some((**order).clone()));
                }
                Step::Progress {
                    key,
                    add,
                    state,
                    note,
                    changed_at,
                } => {
                    let order = before(*key).map(|order| Order {
                        quantity: order.quantity + add,
                        state: state.clone(),
                        note: note.clone(),
                        changed_at: Some(changed_at.clone()),
                        ..order
                    });
                    after.insert(*key, order);
                }
                Step::Details {
                    key,
                    amount,
                    weight,
                    details,
                    fingerprint,
                } => {
                    let order = before(*key).map(|order| Order {
                        amount: amount.clone(),
                        weight: *weight,
                        details: details.clone(),
                        fingerprint: fingerprint.clone(),
                        ..order
                    });
                    after.insert(*key, order);
                }
                Step::Reference { key, reference } => {
                    let order = before(*key).map(|order| Order {
                        reference: reference.clone(),
                        ..order
                    });
                    after.insert(*key, order);
                }
                Step::Delete { key } => {
                    after.insert(*key, None);
                }
                Step::Rekey { from, to } => {
                    let order = before(*from);
                    after.insert(*from, None);
                    after.insert(*to, order);
                }
            }
        }
        after
    }

    pub async fn run(&self, session: &mut MySqlConnection) -> Result<(), Failure> {
        if self.commit && self.steps.len() == 1 {
            return self.steps[0].run(session).await;
        }
        session.execute("START TRANSACTION").await?;
        for step in &self.steps {
            if let Err(failure) = step.run(&mut *session).await {
                if matches!(failure, Failure::Refused(_) | Failure::RowMissing { .. }) {
                    session.execute("ROLLBACK").await?;
                }
                return Err(failure);
            }
        }
        let end = if self.commit { "COMMIT" } else { "ROLLBACK" };
        match session.execute(end).await {
            Ok(_) => Ok(()),
            // Even the server's own error leaves it open whether the commit took place.
            Err(error) => Err(Failure::Unknown(error)),
        }
    }
}

impl Step {
    async fn run(&self, session: &mut MySqlConnection) -> Result<(), Failure> {
        let (key, query) = match self {
            Self::Insert { key, order } => (key, order.bind(sqlx::query(INSERT), *key)),
            Self::Progress {
                key,
                add,
                state,
                note,
                changed_at,
            } => {
                let query = sqlx::query(
                    "UPDATE orders SET quantity = quantity + ?, state = ?, note = ?, changed_at = ? WHERE order_id = ?",
                );
                (
                    key,
                    query
                        .bind(add)
                        .bind(state)
                        .bind(note)
                        .bind(changed_at)
                        .bind(key),
                )
            }
            Self::Details {
                key,
                amount,
                weight,
                details,
                fingerprint,
            } => {
                let query = sqlx::query(
                    "UPDATE orders SET amount = ?, weight = ?, details = ?, fingerprint = ? WHERE order_id = ?",
                );
                (
                    key,
                    query
                        .bind(amount)
                        .bind(weight.map(|weight| weight.0))
                        .bind(details)
                        .bind(fingerprint)
                        .bind(key),
                )
            }
            Self::Reference { key, reference } => {
                let query = sqlx::query("UPDATE orders SET reference = ? WHERE order_id = ?");
                (key, query.bind(reference).bind(key))
            }
            Self::Delete { key } => {
                let query = sqlx::query("DELETE FROM orders WHERE order_id = ?");
                (key, query.bind(key))
            }
            Self::Rekey { from, to } => {
                let query = sqlx::query("UPDATE orders SET order_id = ? WHERE order_id = ?");
                (from, query.bind(to).bind(from))
            }
        };
        // Rows that were found, changed or not: sqlx asks the server for that count.
        match query.execute(session).await?.rows_affected() {
            1 => Ok(()),
            _ => Err(Failure::RowMissing { key: *key }),
        }
    }
}

/// The rows that these keys have now.
pub(super) async fn read(
    session: &mut MySqlConnection,
    keys: &[u64],
) -> Result<BTreeMap<u64, Order>, sqlx::Error> {
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = if let [key] = keys {
        // By far the most frequent: prepared once.
        let query = format!("SELECT {READ} FROM orders AS o WHERE o.order_id = ?");
        let query = sqlx::query(AssertSqlSafe(query)).bind(key);
        query.fetch_all(session).await?
    } else {
        let list = super::digest::list(keys);
        let query = format!("SELECT {READ} FROM orders AS o WHERE o.order_id IN ({list})");
        let query = sqlx::query(AssertSqlSafe(query)).persistent(false);
        query.fetch_all(session).await?
    };
    rows.iter().map(Order::read).collect()
}
