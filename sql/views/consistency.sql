-- View: consistency
--
-- Operations whose stored claim or directive differs from what the gates declare. Always empty: a row here is a defect of
-- Lockkeeper.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW consistency (operation_id, recorded, declared) AS
SELECT u.operation_id,
       CONCAT('claim ', COALESCE(u.recorded_claim, 'none'), ', directive ', u.recorded_directive),
       CONCAT('claim ', COALESCE(u.declared_claim, 'none'), ', directive ', u.declared_directive) COLLATE utf8mb4_0900_bin
  FROM _operation_unrecorded AS u
