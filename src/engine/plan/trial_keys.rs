//! Foreign keys of an empty copy, on which a statement is tried.
//!
//! The server itself says what the statement makes of them: a type that no longer fits the
//! parent's, an index that one of them needs, a column's new name. They point at empty copies of the
//! parents: the parents' own definitions would be locked at every step, and their users would wait.

use crate::engine::EngineError;
use crate::engine::names::{Owner, Role};
use crate::engine::session::Session;
use crate::engine::syntax::{quote, quote_table};
use crate::engine::table::foreign_key::{self, ForeignKey, ForeignKeys};
use crate::engine::table::storage::StoredIndexes;
use crate::engine::table::{TableDefinition, catalog};

/// The foreign keys of one original, and the copies of their parents.
pub(crate) struct TrialKeys<'a> {
    schema: &'a str,
    keys: Vec<ForeignKey>,
    /// The copy of each key's parent.
    parents: Vec<String>,
}

impl<'a> TrialKeys<'a> {
    /// Makes the parents' copies; [`TrialKeys::remove`] drops them.
    pub async fn make(
        session: &mut Session,
        schema: &'a str,
        owner: &Owner,
        position: u32,
        original: &TableDefinition,
    ) -> Result<Self, EngineError> {
        let keys = ForeignKey::of_text(&original.create_statement, schema)?;
        let names = 0..keys.len();
        let made = Self {
            schema,
            parents: names
                .map(|nth| owner.table(Role::Parent(position, nth)))
                .collect(),
            keys,
        };
        made.remove(session).await?;
        for (key, copy) in made.keys.iter().zip(&made.parents) {
            let parent = quote_table(&key.parent_schema, &key.parent_table);
            let answer = session
                .run(&format!(
                    "CREATE TABLE {} LIKE {parent}",
                    quote_table(schema, copy)
                ))
                .await;
            if let Err(error) = answer {
                made.remove(session).await?;
                let doing = format!(
                    "making an empty copy of {parent}, which {} has foreign key {} to,",
                    original.quoted(),
                    key.name
                );
                return Err(EngineError::while_doing(doing)(error));
            }
        }
        Ok(made)
    }

    pub async fn remove(&self, session: &mut Session) -> Result<(), EngineError> {
        for copy in &self.parents {
            session.drop_table(self.schema, copy).await?;
        }
        Ok(())
    }

    /// The name of a key of the original on `copy`.
    pub fn name_on(&self, copy: &str, name: &str) -> Option<String> {
        let name = name.to_lowercase();
        let nth = self
            .keys
            .iter()
            .position(|k| k.name.to_lowercase() == name)?;
        Some(numbered(copy, nth))
    }

    /// What the server says of `copy`, in the names of the original.
    pub fn in_own_names(&self, copy: &str, text: &str) -> String {
        let mut text = text.to_owned();
        // The longest first: the tenth begins as the first does.
        for (nth, key) in self.keys.iter().enumerate().rev() {
            text = text
                .replace(&numbered(copy, nth), &key.name)
                .replace(&self.parents[nth], &key.parent_table);
        }
        text
    }

    /// Gives an empty copy of the original its keys.
    ///
    /// The server numbers them in the order in which they are given. One that is named would name
    /// its index too, and the copy must keep those of the original.
    pub async fn add(
        &self,
        session: &mut Session,
        original: &TableDefinition,
        copy: &str,
    ) -> Result<(), EngineError> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let clauses: Vec<String> = self
            .keys
            .iter()
            .zip(&self.parents)
            .map(|(key, parent)| {
                let index = key.own_index(original).map(|index| quote(&index.name));
                let body = key.body(&quote_table(self.schema, parent));
                format!("ADD FOREIGN KEY {} {body}", index.unwrap_or_default())
            })
            .collect();
        let copy = quote_table(self.schema, copy);
        session
            .run(&format!("ALTER TABLE {copy} {}", clauses.join(", ")))
            .await
            .map(drop)
            .map_err(EngineError::while_doing(format!(
                "adding the foreign keys of {} to an empty copy",
                original.quoted()
            )))
    }

    /// Takes the keys off an altered, empty copy, and says what the statement made of them.
    ///
    /// # Errors
    ///
    /// Permanent if the statement adds one, or if a key would not find its index ready.
    pub async fn take_off(
        &self,
        session: &mut Session,
        copy: &str,
    ) -> Result<ForeignKeys, EngineError> {
        let mut changed = Vec::new();
        for found in ForeignKey::of_table(session, self.schema, copy).await? {
            let nth = foreign_key::number(&found.name, copy)
                .and_then(|number| usize::try_from(number).ok()?.checked_sub(1));
            let Some(former) = nth.and_then(|nth| self.keys.get(nth)) else {
                return Err(foreign_key::not_added_online());
            };
            changed.push(ForeignKey {
                name: former.name.clone(),
                parent_schema: former.parent_schema.clone(),
                parent_table: former.parent_table.clone(),
                ..found
            });
        }
        foreign_key::drop_all(session, self.schema, copy).await?;
        let keys = ForeignKeys {
            former: self.keys.clone(),
            changed,
        };
        if !keys.changed.is_empty() {
            self.rehearse(session, copy, &keys).await?;
        }
        Ok(keys)
    }

    /// Under the cutover's lock no index may be built. Which one a key gets follows from the
    /// definitions alone, so the empty copy shows it.
    async fn rehearse(
        &self,
        session: &mut Session,
        copy: &str,
        keys: &ForeignKeys,
    ) -> Result<(), EngineError> {
        let gone = || EngineError::table_gone(self.schema, copy);
        let table = catalog::table(session, self.schema, copy).await?;
        let table = table.ok_or_else(gone)?;
        foreign_key::keep_indexes(session, &table, &keys.changed).await?;
        let before = StoredIndexes::of(session, self.schema, copy).await?.ids();
        let named: Vec<String> = keys
            .changed
            .iter()
            .enumerate()
            .map(|(nth, key)| {
                let former = self.keys.iter().position(|k| k.name == key.name);
                let parent = quote_table(self.schema, &self.parents[former.unwrap_or(0)]);
                format!(
                    "ADD CONSTRAINT {} FOREIGN KEY {}",
                    quote(&numbered(copy, nth)),
                    key.body(&parent)
                )
            })
            .collect();
        let quoted = quote_table(self.schema, copy);
        session
            .run(&format!(
                "ALTER TABLE {quoted} ALGORITHM=INPLACE, {}",
                named.join(", ")
            ))
            .await
            .map_err(EngineError::while_doing(
                "adding foreign keys to an empty copy as the cutover will",
            ))?;
        let after = StoredIndexes::of(session, self.schema, copy).await?.ids();
        foreign_key::drop_all(session, self.schema, copy).await?;
        if before != after {
            return Err(EngineError::permanent(format!(
                "a foreign key of {quoted} would build an index while the tables are locked; give \
                 the key's columns an index in an apply before"
            )));
        }
        Ok(())
    }
}

fn numbered(copy: &str, nth: usize) -> String {
    format!("{copy}_ibfk_{}", nth + 1)
}
