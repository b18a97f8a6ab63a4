-- Data: operation_transition
--
-- Every legal move of an operation, as _move_meaning knows them. The triggers on operation_live and operation refuse all others,
-- whoever asks.
INSERT INTO operation_transition (from_state, to_state, meaning)
WITH state (name) AS (
      VALUES ROW('pending'),
             ROW('running'),
             ROW('waiting_for_cutover'),
             ROW('cutting_over'),
             ROW('revert_window'),
             ROW('reverting'),
             ROW('failed_retryable'),
             ROW('stopped'),
             ROW('cancelling'),
             ROW('completed'),
             ROW('failed'),
             ROW('cancelled'),
             ROW('reverted')
)
SELECT f.name, t.name, _move_meaning(f.name, t.name)
  FROM state AS f
 CROSS JOIN state AS t
 WHERE _move_meaning(f.name, t.name) <> ''
    ON DUPLICATE KEY UPDATE meaning = VALUES(meaning)
