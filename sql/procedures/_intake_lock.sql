-- Procedure: _intake_lock
--
-- One submit or change of deployments at a time: locks the row of this installation until the caller's transaction ends. The
-- first of all locks: see _command_enter for their order.
CREATE PROCEDURE _intake_lock ()
    COMMENT 'Lets one submit or change of deployments in at a time.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_only_row TINYINT UNSIGNED;

    SELECT i.only_row INTO v_only_row FROM installation AS i FOR UPDATE;
END
