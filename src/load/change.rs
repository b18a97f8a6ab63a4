//! The change that is made to the table, and how to tell that it was made.

/// A statement, and what must be true of the table afterwards.
#[derive(Debug, Clone)]
pub struct Change {
    pub statement: &'static str,
    /// A fact, and the query that answers 1 where it holds. `orders` is in the session's schema.
    pub facts: Vec<(&'static str, &'static str)>,
}

/// A wider type, a new column, a new index: none of it can be done without a copy, taken together.
pub fn widen_orders() -> Change {
    Change {
        statement: "ALTER TABLE orders \
                    MODIFY quantity BIGINT NOT NULL, \
                    ADD COLUMN channel VARCHAR(20) NOT NULL DEFAULT 'web', \
                    ADD INDEX orders_by_state (state, placed_at)",
        facts: vec![
            (
                "column quantity is BIGINT NOT NULL",
                "SELECT COUNT(*) FROM information_schema.COLUMNS AS c
                  WHERE c.TABLE_SCHEMA = DATABASE() AND c.TABLE_NAME = 'orders' AND c.COLUMN_NAME = 'quantity'
                    AND c.COLUMN_TYPE = 'bigint' AND c.IS_NULLABLE = 'NO'",
            ),
            (
                "column channel is VARCHAR(20) NOT NULL DEFAULT 'web'",
                "SELECT COUNT(*) FROM information_schema.COLUMNS AS c
                  WHERE c.TABLE_SCHEMA = DATABASE() AND c.TABLE_NAME = 'orders' AND c.COLUMN_NAME = 'channel'
                    AND c.COLUMN_TYPE = 'varchar(20)' AND c.IS_NULLABLE = 'NO' AND c.COLUMN_DEFAULT = 'web'",
            ),
            (
                "index orders_by_state is on (state, placed_at)",
                "SELECT GROUP_CONCAT(s.COLUMN_NAME ORDER BY s.SEQ_IN_INDEX) = 'state,placed_at'
                   FROM information_schema.STATISTICS AS s
                  WHERE s.TABLE_SCHEMA = DATABASE() AND s.TABLE_NAME = 'orders' AND s.INDEX_NAME = 'orders_by_state'",
            ),
            (
                "the indexes from before are there",
                "SELECT COUNT(DISTINCT s.INDEX_NAME) = 3 FROM information_schema.STATISTICS AS s
                  WHERE s.TABLE_SCHEMA = DATABASE() AND s.TABLE_NAME = 'orders'
                    AND s.INDEX_NAME IN ('PRIMARY', 'orders_reference', 'orders_by_customer')",
            ),
            (
                "every row has the new column's default",
                "SELECT COUNT(*) = 0 FROM orders AS o WHERE BINARY o.channel <> BINARY 'web'",
            ),
            (
                "the new index holds as many rows as the table",
                "SELECT (SELECT COUNT(o.placed_at) FROM orders AS o FORCE INDEX (orders_by_state)
                          WHERE o.state IS NOT NULL)
                      = (SELECT COUNT(*) FROM orders AS o FORCE INDEX (PRIMARY))",
            ),
        ],
    }
}
