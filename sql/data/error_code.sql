-- Data: error_code
--
-- The numbers of the refusals. None is ever reused.
INSERT INTO error_code (error_code, name, remedy)
VALUES (50001, 'bad_argument',      'pass what the message asks for; nothing was changed'),
       (50002, 'not_found',         'look the id or name up in apply_status, operation_status or deployment_status'),
       (50003, 'transaction_open',  'COMMIT your transaction, or ROLLBACK what an interrupted call (KILL QUERY, Ctrl-C) has left open; then call again'),
       (50101, 'lease_lost',        'stop all work on the operation; somebody else owns it now'),
       (50201, 'illegal_move',      'read the operation in operation_status and operation_blocked'),
       (50401, 'api_not_served',    'install the version that the message names'),
       (50402, 'install_running',   'wait for the other installation, then run yours again'),
       (50403, 'schema_newer',      'run lockkeeper in the version that has installed the schema, or a newer one'),
       (50404, 'schema_in_use',     'install into a schema of its own'),
       (50501, 'refused_now',       'do what the message says is possible, or wait'),
       (50502, 'table_held',        'wait for the apply that the message names, or end it: apply_cancel, or apply_skip_revert in its revert window'),
       (50503, 'name_taken',        'choose another name, or submit the same request'),
       (50504, 'position_taken',    'choose a position that deployment_status does not show')
    AS new
    ON DUPLICATE KEY UPDATE name   = new.name,
                            remedy = new.remedy
