-- View: consistency
--
-- Operations whose stored claim or directive differs from what the gates declare. Always empty: a row here is a defect of
-- Lockkeeper.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW consistency (operation_id, recorded, declared) AS
SELECT g.operation_id,
       CONCAT('claim ', COALESCE(g.recorded_claim, 'none'), ', directive ', g.recorded_directive),
       CONCAT('claim ', COALESCE(g.declared_claim, 'none'), ', directive ', g.declared_directive) COLLATE utf8mb4_0900_bin
  FROM _operation_gate AS g
 WHERE g.recorded_directive <> g.declared_directive
    OR (g.lease_token IS NULL AND NOT (g.recorded_claim <=> g.declared_claim))
