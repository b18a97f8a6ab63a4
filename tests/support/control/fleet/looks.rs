//! What the views show.

use super::{Apply, Fleet};
use crate::support::control::{Answer, Blocked};

impl Fleet {
    /// A column of `operation_status`, as text.
    pub async fn column(&self, operation: u64, column: &str) -> String {
        let query = format!(
            "SELECT CAST(s.{column} AS CHAR) FROM operation_status AS s WHERE s.operation_id = ?"
        );
        let mut texts = self.sql().await.texts(&query, arguments![operation]).await;
        assert_eq!(
            texts.len(),
            1,
            "operation {operation} is in operation_status"
        );
        texts.remove(0)
    }

    pub async fn state(&self, operation: u64) -> String {
        self.column(operation, "state").await
    }

    pub async fn apply_of(&self, operation: u64) -> Apply {
        let id = self.column(operation, "apply_id").await;
        Apply {
            id: id.parse().expect("an id"),
            operations: vec![operation],
        }
    }

    pub async fn states(&self, apply: &Apply) -> Vec<String> {
        self.sql()
            .await
            .texts(
                "SELECT s.state FROM operation_status AS s WHERE s.apply_id = ? ORDER BY s.position",
                arguments![apply.id],
            )
            .await
    }

    pub async fn apply_column(&self, apply: &Apply, column: &str) -> String {
        let query =
            format!("SELECT CAST(a.{column} AS CHAR) FROM apply_status AS a WHERE a.apply_id = ?");
        self.sql()
            .await
            .texts(&query, arguments![apply.id])
            .await
            .remove(0)
    }

    pub async fn apply_state(&self, apply: &Apply) -> String {
        self.apply_column(apply, "state").await
    }

    /// Operation and claim of everything that `operation_claimable` shows.
    pub async fn claimable(&self) -> Vec<(u64, String)> {
        self.sql()
            .await
            .rows(
                "SELECT c.operation_id, c.claim FROM operation_claimable AS c ORDER BY c.claimable_at, c.operation_id",
                &[],
            )
            .await
            .iter()
            .map(|row| (row.id("operation_id"), row.text("claim")))
            .collect()
    }

    pub async fn is_claimable(&self, operation: u64, claim: &str) -> bool {
        self.claimable()
            .await
            .contains(&(operation, claim.to_owned()))
    }

    pub async fn blocked(&self, operation: u64) -> Option<Blocked> {
        let rows = self
            .sql()
            .await
            .rows(
                "SELECT b.gate, b.blocker_operation_id, b.reason FROM operation_blocked AS b WHERE b.operation_id = ?",
                arguments![operation],
            )
            .await;
        assert!(rows.len() <= 1, "one row an operation");
        rows.first().map(Blocked::of)
    }

    /// Why it does not move, if it does not.
    pub async fn waiting(&self, operation: u64) -> Option<String> {
        let query = "SELECT w.reason FROM operation_waiting AS w WHERE w.operation_id = ?";
        let mut reasons = self.sql().await.texts(query, arguments![operation]).await;
        assert!(reasons.len() <= 1, "one row an operation");
        reasons.pop()
    }

    /// Status of a request.
    pub async fn request_status(&self, answer: &Answer) -> String {
        self.sql()
            .await
            .texts(
                "SELECT r.status FROM control_request_log AS r WHERE r.request_id = ?",
                arguments![answer.request],
            )
            .await
            .remove(0)
    }

    pub async fn has_lease(&self, operation: u64) -> bool {
        self.sql()
            .await
            .number(
                "SELECT COUNT(*) FROM lease_status AS l WHERE l.operation_id = ?",
                arguments![operation],
            )
            .await
            == 1
    }
}
