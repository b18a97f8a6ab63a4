-- View: _deferral
--
-- Operations on hold of which nothing was asked, neither a cutover nor a stop, and when each is given up for that. Only where the
-- apply sets a limit. One that is over is carried out by the next beat.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW _deferral (operation_id, apply_id, timeout_seconds, given_up_at, is_over) AS
SELECT l.operation_id,
       l.apply_id,
       a.defer_timeout_seconds,
       l.held_at + INTERVAL a.defer_timeout_seconds SECOND,
       l.held_at + INTERVAL a.defer_timeout_seconds SECOND <= UTC_TIMESTAMP(6)
  FROM operation_live AS l
  JOIN apply          AS a
    ON a.apply_id = l.apply_id
 WHERE l.is_held
   AND l.directive = 'none'
   AND l.cutover_request_id IS NULL
   AND NOT a.is_cutover_opened
   AND a.defer_timeout_seconds IS NOT NULL
