-- Procedure: operation_release_lease
--
-- Takes a lease away from a driver that is known to be gone, without waiting for it to run out: the operation is claimable
-- at once, and the former owner is refused from now on. Answers operation_id, driver.
--
-- in_operation_id  see lease_status
-- in_reason        for those who read the log; may be NULL
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50501. Example: CALL operation_release_lease(41, 'host db7 burnt down');
CREATE PROCEDURE operation_release_lease (IN in_operation_id LONGTEXT CHARACTER SET utf8mb4, IN in_reason MEDIUMTEXT CHARACTER SET utf8mb4)
    COMMENT 'Takes a lease away from a driver that is gone.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_id       BIGINT UNSIGNED DEFAULT _id(in_operation_id);
    DECLARE v_apply_id BIGINT UNSIGNED;
    DECLARE v_driver   VARCHAR(64);

    CALL _reason_check(in_reason);
    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        CALL _operation_find(v_id, v_apply_id);
        SELECT a.apply_id INTO v_apply_id FROM apply AS a WHERE a.apply_id = v_apply_id FOR UPDATE;
        SELECT MAX(h.lease_driver)
          INTO v_driver
          FROM (SELECT l.lease_driver FROM operation_live AS l WHERE l.operation_id = v_id FOR UPDATE) AS h;
        IF v_driver IS NULL THEN
            CALL _refuse(50501, CONCAT('operation ', v_id, ' is held by no driver; see lease_status for those that are'));
        END IF;
        CALL _lease_return(v_apply_id, v_id, USER(), 'lease_taken',
                           CONCAT('from ', v_driver, COALESCE(CONCAT(': ', in_reason), '')), NULL, NULL);

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_id AS operation_id, v_driver AS driver;
END
