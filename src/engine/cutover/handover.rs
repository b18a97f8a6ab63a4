//! How a swap hands over the foreign keys of a table.
//!
//! The copy has none while it is filled. They are put on under the cutover's locks, after the last drain and before
//! the RENAME, with `foreign_key_checks = 0`: that changes metadata only. The table that the
//! application uses has its keys at every instant, whoever dies when. Taking them from the live
//! table first would leave their names free, but also, behind a crash, a live table that checks
//! nothing.
//!
//! So for a moment both tables have keys, whose names are unique in a schema. A name that the
//! server made from the table's (`orders_ibfk_1`) is made from the copy's, and RENAME gives it
//! back; any other key takes its own name after the RENAME, in one ALTER with the drop of its
//! interim one.
//!
//! All of it is sent as one text, which the server carries out though the driver dies meanwhile.
//! What a crash of the server leaves in between is keys on the table that nobody uses, or an interim
//! name: [`settle`] looks and puts that right.

use super::locked::SwapNames;
use super::swap::SwapOutcome;
use crate::engine::names::{Owner, Role};
use crate::engine::session::{SHORT_LOCK_WAIT, Session, blocker};
use crate::engine::syntax::{quote, quote_table};
use crate::engine::table::foreign_key::{ForeignKey, alter, drop_all, number};
use crate::engine::table::{TablePlan, Way};
use crate::engine::{EngineError, fail_point};

/// Ends the interim name of a key whose own name isn't made from its table's.
const INTERIM: &str = "_fk_";

/// The name that the key of `live` has on `next`, so that two tables can have it at once.
fn interim_name(key: &ForeignKey, live: &str, next: &str, nth: usize) -> String {
    match number(&key.name, live) {
        Some(number) => format!("{next}_ibfk_{number}"),
        None => format!("{next}{INTERIM}{nth}"),
    }
}

/// What a swap sends before and after its RENAME.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Handover {
    pub before: Vec<String>,
    pub after: Vec<String>,
}

impl Handover {
    /// Adds one table's part. `of_live` are the keys of the table that goes aside.
    pub fn add(&mut self, schema: &str, swap: &SwapNames, of_live: &[ForeignKey]) {
        let altered = |table: &str, clauses: Vec<String>| {
            let table = quote_table(schema, table);
            format!(
                "ALTER TABLE {table} ALGORITHM=INPLACE, {}",
                clauses.join(", ")
            )
        };
        let SwapNames {
            live, next, aside, ..
        } = swap;
        let mut added = Vec::new();
        let mut renamed = Vec::new();
        for (nth, key) in swap.foreign_keys.iter().enumerate() {
            let interim = interim_name(key, live, next, nth);
            added.push(key.added_as(&interim));
            if number(&key.name, live).is_none() {
                renamed.push(format!("DROP FOREIGN KEY {}", quote(&interim)));
                renamed.push(key.added_as(&key.name));
            }
        }
        if !added.is_empty() {
            self.before.push(altered(next, added));
        }
        let dropped: Vec<String> = of_live
            .iter()
            .map(|key| match number(&key.name, live) {
                Some(number) => format!("{aside}_ibfk_{number}"),
                None => key.name.clone(),
            })
            .map(|name| format!("DROP FOREIGN KEY {}", quote(&name)))
            .collect();
        if !dropped.is_empty() {
            self.after.push(altered(aside, dropped));
        }
        if !renamed.is_empty() {
            self.after.push(altered(live, renamed));
        }
    }
}

/// Puts right what a swap that was cut short has left: keys of the table that is not in use, and
/// interim names. Does nothing where all is as it should be.
///
/// Call it when no session is left that may have sent the RENAME.
pub(crate) async fn settle(
    session: &mut Session,
    schema: &str,
    owner: &Owner,
    plans: &[TablePlan],
    outcome: &SwapOutcome,
) -> Result<(), EngineError> {
    let swapped = match outcome {
        SwapOutcome::Swapped => true,
        SwapOutcome::NotSwapped => false,
        SwapOutcome::Unknown(_) => return Ok(()),
    };
    for plan in plans.iter().filter(|plan| plan.way == Way::Copy) {
        let (Some(original), false) = (&plan.original, plan.foreign_keys.is_empty()) else {
            continue;
        };
        let position = plan.task.position;
        let (unused, keys) = match swapped {
            true => (Role::Old(position), &plan.foreign_keys.changed),
            false => (Role::Shadow(position), &plan.foreign_keys.former),
        };
        drop_all(session, schema, &owner.table(unused)).await?;
        take_names(session, schema, owner, &original.name, keys).await?;
    }
    Ok(())
}

/// Gives the keys of the table in use their own names. What others did to its keys stays.
async fn take_names(
    session: &mut Session,
    schema: &str,
    owner: &Owner,
    live: &str,
    keys: &[ForeignKey],
) -> Result<(), EngineError> {
    let mut clauses = Vec::new();
    for found in ForeignKey::of_table(session, schema, live).await? {
        // Of whichever epoch: RENAME leaves these names alone.
        let own = found
            .name
            .strip_prefix(&owner.operation_prefix())
            .and_then(|rest| rest.rsplit_once(INTERIM)?.1.parse::<usize>().ok())
            .and_then(|nth| keys.get(nth));
        if let Some(own) = own {
            clauses.push(format!("DROP FOREIGN KEY {}", quote(&found.name)));
            clauses.push(found.added_as(&own.name));
        }
    }
    if clauses.is_empty() {
        return Ok(());
    }
    // Others would wait behind an ALTER that waits. It is looked into again.
    let held = blocker::holding(session, &[(schema, live)], SHORT_LOCK_WAIT).await?;
    if let Some(blocker) = held.first() {
        return Err(EngineError::retryable(format!(
            "handing over the foreign keys of {}: {}",
            quote_table(schema, live),
            blocker.describe()
        )));
    }
    fail_point::at("keys.name.before");
    alter(session, schema, live, &clauses.join(", ")).await?;
    fail_point::at("keys.name.after");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "CREATE TABLE `c` (\n  `id` int NOT NULL,\n  `p` int DEFAULT NULL,\n  KEY `p` (`p`),\n  \
        CONSTRAINT `c_ibfk_2` FOREIGN KEY (`p`) REFERENCES `p` (`id`) ON DELETE CASCADE,\n  \
        CONSTRAINT `mine` FOREIGN KEY (`p`, `re``f`) REFERENCES `other`.`P 2` (`a`, `b`)\n) ENGINE=InnoDB";

    #[test]
    fn a_handover_frees_each_name_before_it_is_taken() {
        let keys = ForeignKey::of_text(TEXT, "s").unwrap();
        let swap = SwapNames {
            live: "c".into(),
            next: "_new".into(),
            aside: "_old".into(),
            fillers: Vec::new(),
            foreign_keys: keys.clone(),
        };
        let mut handover = Handover::default();
        handover.add("s", &swap, &keys);
        assert_eq!(
            handover.before,
            ["ALTER TABLE `s`.`_new` ALGORITHM=INPLACE, \
                 ADD CONSTRAINT `_new_ibfk_2` FOREIGN KEY (`p`) REFERENCES `s`.`p` (`id`) ON DELETE CASCADE, \
                 ADD CONSTRAINT `_new_fk_1` FOREIGN KEY (`p`, `re``f`) REFERENCES `other`.`P 2` (`a`, `b`)"]
        );
        assert_eq!(
            handover.after,
            [
                "ALTER TABLE `s`.`_old` ALGORITHM=INPLACE, DROP FOREIGN KEY `_old_ibfk_2`, DROP FOREIGN KEY `mine`",
                "ALTER TABLE `s`.`c` ALGORITHM=INPLACE, DROP FOREIGN KEY `_new_fk_1`, \
                 ADD CONSTRAINT `mine` FOREIGN KEY (`p`, `re``f`) REFERENCES `other`.`P 2` (`a`, `b`)"
            ]
        );
    }
}
