-- The swaps under way, either way: one of an apply at a time, a second one violates the primary key. Written by the trigger on
-- operation_live. Not a unique index there: where that still has an entry of an earlier swap, the server locks the gaps beside it,
-- and so the swaps of other applies.
CREATE TABLE IF NOT EXISTS swap (
    apply_id     BIGINT UNSIGNED NOT NULL,
    operation_id BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (apply_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin
