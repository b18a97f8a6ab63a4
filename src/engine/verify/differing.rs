//! Rows that differ: whether they truly do, and how they are put right.

use std::collections::BTreeSet;
use std::time::Duration;

use super::rows::{KeyPart, any_of, describe, differing, from_map_key};
use super::{Different, Found, MOST_DIFFERENT, TableVerify};
use crate::engine::EngineError;
use crate::engine::context::Halt;
use crate::engine::conversion::insert::from_original;
use crate::engine::session::Session;
use crate::engine::state::checkpoint::run;
use crate::engine::stream::apply;
use crate::engine::table::Copied;
use crate::engine::table::key_range::KeyColumns;
use crate::server_error;

/// Rounds of reading again before rows are locked.
pub(super) const ROUNDS: u32 = 8;

/// How often a row may meet another's value of a unique key before that is taken for a duplicate.
const MEETINGS: u32 = 5;

/// How long a row may be locked while the applier catches up with it.
const LOCK_LIMIT: Duration = Duration::from_secs(2);

impl TableVerify {
    /// Reads differing rows again until they are equal, or are known to differ.
    pub(super) async fn again(
        &self,
        session: &mut Session,
        mut keys: BTreeSet<Vec<KeyPart>>,
    ) -> Result<Found, Halt> {
        for round in 0..ROUNDS {
            if keys.is_empty() {
                return Ok(Found::default());
            }
            self.context.may_go_on()?;
            if round > 0 {
                tokio::time::sleep(Duration::from_millis(10) * round).await;
            }
            self.place
                .wait_until_applied(session, &self.context)
                .await?;
            let mut still = BTreeSet::new();
            let list: Vec<Vec<KeyPart>> = keys.into_iter().collect();
            for keys in list.chunks(100) {
                let here = any_of(&self.original.key, keys);
                let there = any_of(&self.shadow.key, keys);
                let original = self.digests(session, &self.original, &here, "TRUE").await?;
                let shadow = self.digests(session, &self.shadow, &there, "TRUE").await?;
                still.extend(differing(&original, &shadow));
            }
            keys = still;
        }
        let mut different = Vec::new();
        for key in keys {
            self.context.may_go_on()?;
            different.extend(self.under_lock(session, &key).await?);
            if different.len() > MOST_DIFFERENT {
                break;
            }
        }
        Ok(Found {
            different,
            behind: BTreeSet::new(),
        })
    }

    /// Compares one row that cannot change meanwhile. REPEATABLE READ, so that one that is not there just now is kept away, too: only on
    /// that level the gap is locked. What is compared is read in a snapshot that begins after the wait, with the first read without a lock.
    async fn under_lock(
        &self,
        session: &mut Session,
        key: &[KeyPart],
    ) -> Result<Option<Different>, Halt> {
        let doing = "comparing a row under a lock";
        let text = from_map_key(key);
        let plan = &self.context.plans[self.table];
        let original = plan.copied()?.original.quoted();
        let begin = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; BEGIN";
        run(session.connection(), begin.into(), doing).await?;
        let lock = format!(
            "SELECT 1 FROM {original} FORCE INDEX ({}) WHERE {} FOR SHARE",
            self.original.key.index(),
            self.original.key.is(&text)
        );
        session
            .rows(&lock)
            .await
            .map_err(EngineError::while_doing(doing))?;
        let waited =
            tokio::time::timeout(LOCK_LIMIT, self.place.wait_inside(session, &self.context));
        let waited = waited.await;
        let keys = [key.to_vec()];
        let here = self
            .digests(
                session,
                &self.original,
                &any_of(&self.original.key, &keys),
                "TRUE",
            )
            .await?;
        let there = self
            .digests(
                session,
                &self.shadow,
                &any_of(&self.shadow.key, &keys),
                "TRUE",
            )
            .await?;
        run(session.connection(), "COMMIT".into(), doing).await?;
        match waited {
            Ok(result) => result?,
            Err(_) => {
                return Err(Halt::Failed(EngineError::retryable(
                    "the applier is too far behind to compare a row that changes all the time",
                )));
            }
        }
        let keys = differing(&here, &there);
        Ok(describe(&keys, &here, &there).pop())
    }

    /// Copies the given rows once more.
    ///
    /// The original's row is locked meanwhile, so the images that are still to come lead to the
    /// state that is copied here. Whether it worked is for another full pass to say.
    pub async fn repair(&self, different: &[Different]) -> Result<(), Halt> {
        let doing = "repairing a row of the copy";
        let plan = &self.context.plans[self.table];
        let Copied {
            original, shadow, ..
        } = plan.copied()?;
        let key = &self.original.key;
        let insert = from_original(plan, original, shadow, "INSERT", &shadow.quoted(), key);
        let mut session = self.context.sessions.open().await?;
        // Their changes that are still on their way would meet them.
        self.place
            .wait_until_applied(&mut session, &self.context)
            .await?;
        for row in different {
            let here = key.is(&row.key);
            let there = self.shadow.key.is(&row.key);
            let sql = format!(
                "BEGIN; DO (SELECT COUNT(*) FROM {o} WHERE {here} FOR SHARE); \
                 DELETE FROM {s} WHERE {there}; \
                 {insert}{here}; {mark}; COMMIT",
                o = original.quoted(),
                s = shadow.quoted(),
                mark = self.context.store.mark()?,
            );
            let mut meetings = 0;
            while let Err(error) = run(session.connection(), sql.clone(), doing).await {
                if error.server_number() != Some(apply::DUPLICATE) {
                    return Err(error.into());
                }
                meetings += 1;
                if meetings == MEETINGS {
                    return Err(EngineError::permanent(format!(
                        "row {} of {} and another have one value where the changed table has a unique key ({}); make them \
                         differ, and submit the change again",
                        KeyColumns::shown(&row.key),
                        original.quoted(),
                        error.cause().map(server_error::words).unwrap_or_default()
                    ))
                    .into());
                }
                // A value that moves from row to row: the one that has it in the copy is behind.
                run(session.connection(), "ROLLBACK".into(), doing).await?;
                self.place
                    .wait_until_applied(&mut session, &self.context)
                    .await?;
            }
        }
        session.close().await;
        Ok(())
    }
}
