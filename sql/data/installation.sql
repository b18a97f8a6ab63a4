-- Data: installation
--
-- The one row, made once: its name stands in every artifact that this installation leaves on a deployment.
INSERT IGNORE INTO installation (only_row, installation, created_at)
VALUES (1, LOWER(HEX(RANDOM_BYTES(4))), UTC_TIMESTAMP(6))
