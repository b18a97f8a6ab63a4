-- What each role may do. The installer adds the schema to each object, and to each role as a prefix: in schema
-- `lockkeeper` the role `reader` is `lockkeeper_reader`. Nobody is granted a table; operation_age is for nobody.

GRANT SELECT ON apply_status          TO reader, operator;
GRANT SELECT ON operation_status      TO reader, operator;
GRANT SELECT ON task_status           TO reader, operator;
GRANT SELECT ON operation_claimable   TO reader, operator;
GRANT SELECT ON operation_blocked     TO reader, operator;
GRANT SELECT ON operation_waiting     TO reader, operator;
GRANT SELECT ON lease_status          TO reader, operator;
GRANT SELECT ON driver_status         TO reader, operator;
GRANT SELECT ON deployment_status     TO reader, operator;
GRANT SELECT ON control_request_log   TO reader, operator;
GRANT SELECT ON event_log             TO reader, operator;
GRANT SELECT ON health                TO reader, operator;
GRANT SELECT ON consistency           TO reader, operator;
GRANT SELECT ON object_version        TO reader, operator;
GRANT SELECT ON setting_status        TO reader, operator;

GRANT EXECUTE ON PROCEDURE deployment_register     TO operator;
GRANT EXECUTE ON PROCEDURE deployment_remove       TO operator;
GRANT EXECUTE ON PROCEDURE apply_submit            TO operator;
GRANT EXECUTE ON PROCEDURE apply_stop              TO operator;
GRANT EXECUTE ON PROCEDURE apply_start             TO operator;
GRANT EXECUTE ON PROCEDURE apply_cancel            TO operator;
GRANT EXECUTE ON PROCEDURE apply_release           TO operator;
GRANT EXECUTE ON PROCEDURE apply_skip_revert       TO operator;
GRANT EXECUTE ON PROCEDURE apply_cutover           TO operator;
GRANT EXECUTE ON PROCEDURE apply_revert            TO operator;
GRANT EXECUTE ON PROCEDURE apply_throttle          TO operator;
GRANT EXECUTE ON PROCEDURE operation_release_lease TO operator;
GRANT EXECUTE ON PROCEDURE setting_set             TO operator;
GRANT EXECUTE ON PROCEDURE history_purge           TO operator;

GRANT EXECUTE ON PROCEDURE driver_register         TO driver;
GRANT EXECUTE ON PROCEDURE driver_heartbeat        TO driver;
GRANT EXECUTE ON PROCEDURE operation_claim_copy    TO driver;
GRANT EXECUTE ON PROCEDURE operation_claim_cutover TO driver;
GRANT EXECUTE ON PROCEDURE operation_tend          TO driver;
GRANT EXECUTE ON PROCEDURE operation_tended        TO driver;
GRANT EXECUTE ON PROCEDURE operation_heartbeat     TO driver;
GRANT EXECUTE ON PROCEDURE operation_arrive        TO driver;
GRANT EXECUTE ON PROCEDURE operation_begin_cutover TO driver;
GRANT EXECUTE ON PROCEDURE operation_swapped       TO driver;
GRANT EXECUTE ON PROCEDURE operation_complete      TO driver;
GRANT EXECUTE ON PROCEDURE operation_begin_revert  TO driver;
GRANT EXECUTE ON PROCEDURE operation_reverted      TO driver;
GRANT EXECUTE ON PROCEDURE operation_stopped       TO driver;
GRANT EXECUTE ON PROCEDURE operation_cancelled     TO driver;
GRANT EXECUTE ON PROCEDURE operation_fail          TO driver;
GRANT EXECUTE ON PROCEDURE operation_release       TO driver;
