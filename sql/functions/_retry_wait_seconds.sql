-- Function: _retry_wait_seconds
--
-- How long an operation waits after its failure number in_attempt: not at all after the first two, then 5 s, doubled each
-- time up to in_limit_seconds.
CREATE FUNCTION _retry_wait_seconds (in_attempt INT UNSIGNED, in_limit_seconds INT UNSIGNED)
    RETURNS INT UNSIGNED
    COMMENT 'The wait before a retry, in seconds.'
    DETERMINISTIC
    NO SQL
    SQL SECURITY DEFINER
RETURN IF(in_attempt <= 2, 0, LEAST(in_limit_seconds, 5 * POW(2, LEAST(in_attempt, 20) - 3)))
