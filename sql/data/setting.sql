-- Data: setting
--
-- The settings that there are, with their defaults and bounds. A value that a DBA has set stays.
INSERT INTO setting (name, value, minimum_value, maximum_value, description)
VALUES ('lease_ttl_seconds',     60, 5,  3600, 'how long a lease lasts after its last heartbeat'),
       ('poll_seconds',           2, 1,   300, 'how long a driver with nothing to do waits before it asks again'),
       ('retry_limit',           10, 0,  1000, 'how often an operation is retried after a transient failure'),
       ('retry_wait_limit_seconds', 120, 1, 3600, 'the longest wait before a retry'),
       ('tend_seconds',          60, 5, 86400, 'how often a parked operation is caught up'),
       ('event_retention_days', 365, 1, 36500, 'how old events and applies may become where history_purge is not told (in_older_than_days NULL)'),
       ('driver_silent_seconds', 180, 10, 86400, 'how long an operation may stay claimable, a swap give way, a parked one wait for its catch-up, or a command be pending, before health reports it')
    AS new
    ON DUPLICATE KEY UPDATE minimum_value = new.minimum_value,
                            maximum_value = new.maximum_value,
                            description   = new.description
