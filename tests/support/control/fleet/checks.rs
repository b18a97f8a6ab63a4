//! What must always hold, and what a refused call must not have changed.

use super::Fleet;

impl Fleet {
    /// Stored claims are the declared ones; each operation that waits is claimable or blocked with a reason, never both.
    pub async fn check(&self) {
        let mut session = self.sql().await;
        let inconsistent = session
            .texts(
                "SELECT CONCAT_WS(' / ', c.operation_id, c.recorded, c.declared) FROM consistency AS c",
                &[],
            )
            .await;
        assert!(inconsistent.is_empty(), "consistency: {inconsistent:?}");
        let astray = session
            .texts(
                "SELECT CONCAT_WS(' ', w.operation_id, w.state, 'claimable', w.claimable, 'blocked', w.blocked)
                   FROM (SELECT s.operation_id,
                                s.state,
                                (SELECT COUNT(*) FROM operation_claimable AS c WHERE c.operation_id = s.operation_id) AS claimable,
                                (SELECT COUNT(*)
                                   FROM operation_blocked AS b
                                  WHERE b.operation_id = s.operation_id
                                    AND b.reason LIKE '%.') AS blocked
                           FROM operation_status AS s
                           LEFT JOIN lease_status AS l
                             ON l.operation_id = s.operation_id
                          WHERE s.state IN ('pending', 'waiting_for_cutover', 'failed_retryable')
                            AND l.operation_id IS NULL) AS w
                  WHERE w.claimable + w.blocked <> 1",
                &[],
            )
            .await;
        assert!(astray.is_empty(), "neither or both: {astray:?}");
    }

    /// The moves of each operation form one chain of legal moves from `pending` to the state that it has.
    pub async fn check_history(&self) {
        let mut session = self.sql().await;
        let broken = session
            .texts(
                "SELECT CONCAT_WS(' ', m.operation_id, m.before_state, m.from_state, m.to_state)
                   FROM (SELECT e.operation_id, e.from_state, e.to_state, e.actor, e.detail, e.lease_epoch, e.occurred_at,
                                LAG(e.to_state, 1, 'pending') OVER one AS before_state,
                                LAG(e.lease_epoch, 1, 0)      OVER one AS before_epoch
                           FROM event_log AS e
                          WHERE e.to_state IS NOT NULL
                         WINDOW one AS (PARTITION BY e.operation_id ORDER BY e.event_id)) AS m
                   LEFT JOIN operation_transition AS t
                     ON t.from_state = m.from_state
                    AND t.to_state   = m.to_state
                  WHERE m.from_state <> m.before_state
                     OR t.from_state IS NULL
                     OR COALESCE(m.actor, '')  = ''
                     OR COALESCE(m.detail, '') = ''
                     OR m.lease_epoch IS NULL
                     OR m.lease_epoch < m.before_epoch
                     OR m.occurred_at IS NULL
                 UNION ALL
                 SELECT CONCAT_WS(' ', s.operation_id, 'is', s.state, 'but moved last to', m.to_state)
                   FROM operation_status AS s
                   LEFT JOIN (SELECT e.operation_id, e.to_state,
                                     ROW_NUMBER() OVER (PARTITION BY e.operation_id ORDER BY e.event_id DESC) AS number
                                FROM event_log AS e
                               WHERE e.to_state IS NOT NULL) AS m
                     ON m.operation_id = s.operation_id
                    AND m.number       = 1
                  WHERE COALESCE(m.to_state, 'pending') <> s.state",
                &[],
            )
            .await;
        assert!(broken.is_empty(), "broken chains: {broken:?}");
    }

    /// All that is stored of an operation, and how many events there are of it: to see that nothing changed.
    pub async fn everything_of(&self, operation: u64) -> Vec<String> {
        let mut session = self.sql().await;
        let mut everything = Vec::new();
        for query in [
            "SELECT o.* FROM operation AS o WHERE o.operation_id = ?",
            "SELECT l.* FROM operation_live AS l WHERE l.operation_id = ?",
        ] {
            for row in session.rows(query, arguments![operation]).await {
                everything.push(row.raw());
            }
        }
        everything.extend(
            session
                .texts(
                    "SELECT CONCAT('events ', COUNT(*)) FROM event_log AS e WHERE e.operation_id = ?",
                    arguments![operation],
                )
                .await,
        );
        everything
    }

    /// How much there is of everything that is ever stored: a refused call adds nothing.
    pub async fn trace(&self) -> Vec<String> {
        self.sql()
            .await
            .texts(
                "SELECT CONCAT('applies ', COUNT(*)) FROM apply_status
                 UNION ALL SELECT CONCAT('operations ', COUNT(*)) FROM operation_status
                 UNION ALL SELECT CONCAT('tasks ',       COUNT(*)) FROM task_status
                 UNION ALL SELECT CONCAT('deployments ', COUNT(*)) FROM deployment_status
                 UNION ALL SELECT CONCAT('drivers ',     COUNT(*)) FROM driver_status
                 UNION ALL SELECT CONCAT('leases ',      COUNT(*)) FROM lease_status
                 UNION ALL SELECT CONCAT('requests ',    COUNT(*)) FROM control_request_log
                 UNION ALL SELECT CONCAT('events ',      COUNT(*)) FROM event_log
                 UNION ALL SELECT CONCAT('holds ',       COUNT(*)) FROM table_hold",
                &[],
            )
            .await
    }
}
