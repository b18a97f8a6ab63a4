-- A move that operation_transition does not list cannot be logged, and so not be made: see the trigger
-- operation_live_before_update. The server checks the key without a statement, and claims read one row less.
--
-- ALTER TABLE has no IF NOT EXISTS: so that this may run again, it asks first whether it has run.
SET @lockkeeper_ddl = (
    SELECT IF(COUNT(*) = 0,
              'ALTER TABLE event ADD CONSTRAINT event_is_a_legal_move FOREIGN KEY (from_state, to_state) REFERENCES operation_transition (from_state, to_state)',
              'DO 0')
      FROM information_schema.table_constraints AS c
     WHERE c.constraint_schema = DATABASE()
       AND c.constraint_name   = 'event_is_a_legal_move');
PREPARE lockkeeper_ddl FROM @lockkeeper_ddl;
EXECUTE lockkeeper_ddl;
DEALLOCATE PREPARE lockkeeper_ddl
