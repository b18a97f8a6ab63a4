-- View: _deferral_overdue
--
-- Operations on hold of which nothing was asked for longer than their apply allows: neither a cutover nor a stop.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW _deferral_overdue (operation_id, apply_id, timeout_seconds) AS
SELECT l.operation_id,
       l.apply_id,
       a.defer_timeout_seconds
  FROM operation_live AS l
  JOIN apply          AS a
    ON a.apply_id = l.apply_id
 WHERE l.is_held
   AND l.directive = 'none'
   AND l.cutover_request_id IS NULL
   AND NOT a.is_cutover_opened
   AND l.held_at + INTERVAL a.defer_timeout_seconds SECOND <= UTC_TIMESTAMP(6)
