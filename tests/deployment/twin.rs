//! The same tables once more, in a schema of their own: there the server itself changes them.

use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use super::Deployment;

impl Deployment {
    /// The schema of the twins.
    pub fn far(&self) -> String {
        format!("{}_far", self.schema)
    }

    pub async fn create_far(&mut self) {
        let far = self.far();
        self.run(&format!("CREATE DATABASE `{far}`")).await;
    }

    /// Runs statements among the twins.
    pub async fn run_far(&mut self, statements: &str) {
        let (near, far) = (self.schema.clone(), self.far());
        self.run(&format!("USE `{far}`")).await;
        self.run(statements).await;
        self.run(&format!("USE `{near}`")).await;
    }

    /// Panics where a table and its twin differ in their definition or their rows. The counter of AUTO_INCREMENT may be ahead of
    /// the twin's, and keys that are not unique in another order.
    pub async fn is_as_its_twin(&mut self, table: &str, context: &str) {
        let (near, far) = (self.schema.clone(), self.far());
        let ours = self.definition(&near, table).await;
        let theirs = self.definition(&far, table).await;
        assert!(
            counter(&ours) >= counter(&theirs),
            "{context}: {ours}\nthe twin: {theirs}"
        );
        assert_eq!(plain(&ours), plain(&theirs), "{context}");
        let (ours, theirs) = (
            self.content(&near, table).await,
            self.content(&far, table).await,
        );
        let extra = |these: &[String], those: &[String]| -> Vec<String> {
            let extra = these.iter().filter(|row| those.binary_search(row).is_err());
            extra.take(5).cloned().collect()
        };
        assert!(
            ours == theirs,
            "{context}: {} rows, the twin has {}; only here {:#?}, only there {:#?}",
            ours.len(),
            theirs.len(),
            extra(&ours, &theirs),
            extra(&theirs, &ours)
        );
    }

    async fn definition(&mut self, schema: &str, table: &str) -> String {
        let show = format!("SHOW CREATE TABLE `{schema}`.{table}");
        let row = self.root.fetch_one(AssertSqlSafe(show)).await;
        row.expect("a table")
            .try_get_unchecked(1)
            .expect("its definition")
    }

    /// All rows in order, every column in hex, the invisible too.
    async fn content(&mut self, schema: &str, table: &str) -> Vec<String> {
        let columns = self
            .text(&format!(
                "SELECT GROUP_CONCAT('COALESCE(HEX(CAST(`', REPLACE(COLUMN_NAME, '`', '``'), '` AS BINARY)), ''-'')' ORDER BY ORDINAL_POSITION) \
                   FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '{schema}' AND TABLE_NAME = '{table}'"
            ))
            .await;
        let rows = format!("SELECT CONCAT_WS('|', {columns}) FROM `{schema}`.{table}");
        let rows = self.root.fetch_all(AssertSqlSafe(rows)).await;
        let rows = rows.expect("the rows");
        let rows = rows
            .iter()
            .map(|row| row.try_get_unchecked(0).expect("a text"));
        let mut rows: Vec<String> = rows.collect();
        rows.sort();
        rows
    }
}

fn counter(definition: &str) -> Option<u64> {
    let (_, after) = definition.split_once("AUTO_INCREMENT=")?;
    after.split(' ').next()?.parse().ok()
}

/// Without the counter; columns in their order, then all else in a fixed one.
fn plain(definition: &str) -> String {
    let definition = match counter(definition) {
        Some(counter) => definition.replace(&format!(" AUTO_INCREMENT={counter}"), ""),
        None => definition.to_owned(),
    };
    let lines = definition.lines().map(|line| line.trim_end_matches(','));
    let mut lines: Vec<&str> = lines.collect();
    lines.sort_by_key(|line| (!line.starts_with("  `")).then_some(*line));
    lines.join("\n")
}
