//! Columns and keys to draw from.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

/// A type, and those that it may become.
pub struct Kind {
    pub from: &'static str,
    pub to: &'static [&'static str],
    pub may_be_indexed: bool,
    /// Values, as SQL writes them; `#` stands for two digits.
    values: &'static [&'static str],
}

impl Kind {
    pub fn value(&self, random: &mut StdRng) -> String {
        if random.random_bool(0.1) {
            return "NULL".into();
        }
        let number = random.random_range(0..100);
        let value = self.values.choose(random).expect("some");
        value.replace('#', &format!("{number:02}"))
    }
}

const fn kind(
    from: &'static str,
    to: &'static [&'static str],
    may_be_indexed: bool,
    values: &'static [&'static str],
) -> Kind {
    Kind {
        from,
        to,
        may_be_indexed,
        values,
    }
}

pub const KINDS: &[Kind] = &[
    kind(
        "INT",
        &[
            "BIGINT",
            "DECIMAL(20,3)",
            "VARCHAR(20)",
            "DOUBLE",
            "TEXT",
            "INT COMMENT 'it''s'",
        ],
        true,
        &["#", "-#", "-2147483648", "2147483647", "0"],
    ),
    kind(
        "SMALLINT UNSIGNED",
        &["INT", "BIT(17)", "CHAR(9)", "MEDIUMINT UNSIGNED"],
        true,
        &["#", "65535", "0"],
    ),
    kind(
        "BIGINT UNSIGNED",
        &["DECIMAL(30,2)", "VARCHAR(30)", "BIT(64)"],
        true,
        &["#", "18446744073709551615"],
    ),
    kind(
        "DECIMAL(12,3)",
        &[
            "DECIMAL(20,6)",
            "VARCHAR(30)",
            "DECIMAL(12,3) COMMENT 'new'",
        ],
        true,
        &["#.125", "-#.5", "999999999.999", "0"],
    ),
    kind(
        "FLOAT",
        &["DOUBLE", "FLOAT COMMENT 'new'"],
        true,
        &["#.1", "-#e10", "16777215", "1.17549435e-38", "3.4e38"],
    ),
    kind(
        "DOUBLE",
        &["DOUBLE COMMENT 'new'", "VARCHAR(60)"],
        true,
        &["#.1", "0.1e0 + 0.2e0", "-#e100", "5e-324"],
    ),
    kind(
        "VARCHAR(30) CHARACTER SET latin1",
        &[
            "VARCHAR(60) CHARACTER SET utf8mb4",
            "TEXT CHARACTER SET utf16",
            "VARCHAR(30) CHARACTER SET latin1 COLLATE latin1_bin",
            "VARBINARY(40)",
        ],
        true,
        &["'é#'", "'a#  '", "''", "'ÿ€'"],
    ),
    kind(
        "VARCHAR(40)",
        &["TEXT", "VARCHAR(300)", "VARBINARY(200)"],
        true,
        &["'wört #'", "'😀#'", "'W #'", "''", "'it''s \\\\ #\\0'"],
    ),
    kind(
        "TEXT CHARACTER SET utf8mb3",
        &[
            "LONGTEXT CHARACTER SET utf8mb4",
            "MEDIUMTEXT CHARACTER SET utf8mb3",
        ],
        false,
        &["'中 #'", "REPEAT('é', 9#)", "''"],
    ),
    kind(
        "CHAR(12)",
        &[
            "VARCHAR(40)",
            "CHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        ],
        true,
        &["'é#'", "''", "'A'"],
    ),
    kind(
        "ENUM('b','a','')",
        &["ENUM('a','','b','c')", "VARCHAR(9)"],
        true,
        &["'a'", "'b'", "''"],
    ),
    kind(
        "SET('x','','y')",
        &["SET('y','x','','z')", "VARCHAR(20)"],
        false,
        &["0", "1", "2", "4", "5", "7"],
    ),
    kind(
        "DATE",
        &["DATETIME", "VARCHAR(20)"],
        true,
        &[
            "'2024-02-29'",
            "'9999-12-31'",
            "'2020-01-01' + INTERVAL # DAY",
        ],
    ),
    kind(
        "DATETIME(2)",
        &["DATETIME(6)", "VARCHAR(40)"],
        true,
        &[
            "'2024-03-31 02:30:00.25'",
            "'1000-01-01'",
            "'2020-01-01' + INTERVAL # HOUR",
        ],
    ),
    kind(
        "TIMESTAMP(1)",
        &["TIMESTAMP(4)"],
        true,
        &["'2024-10-27 01:30:00.5'", "'2020-01-01' + INTERVAL # DAY"],
    ),
    kind(
        "TIME(3)",
        &["TIME(6)", "VARCHAR(30)"],
        true,
        &["'-838:59:59'", "'-00:00:00.001'", "'#:10:00.5'"],
    ),
    kind("YEAR", &["INT", "VARCHAR(4)"], true, &["20#", "1901", "0"]),
    kind(
        "JSON",
        &["LONGTEXT", "JSON COMMENT 'changed'"],
        false,
        &[
            "JSON_OBJECT('a', #, 'd', CAST(#.5 AS DECIMAL(9,2)))",
            "JSON_ARRAY(#, 1.5e0, 'é😀', DATE '2024-02-29', NULL)",
            "'null'",
        ],
    ),
    kind(
        "BLOB",
        &["LONGBLOB"],
        false,
        &["x'00ff27'", "REPEAT(x'fe', 70#)", "x''"],
    ),
    kind("BIT(9)", &["BIT(33)", "INT"], true, &["b'100000001'", "#"]),
    kind(
        "BINARY(5)",
        &["VARBINARY(9)"],
        true,
        &["x'00'", "x'20#'", "'é'"],
    ),
];

/// The value in the row of an id.
type OfId = fn(i32) -> String;

/// What rows go by.
pub struct Key {
    pub columns: &'static str,
    pub index: &'static str,
    /// Clauses of a change.
    pub changes: &'static [&'static str],
    /// Columns beside `id`, and their values in the row of an id.
    pub beside_id: &'static [(&'static str, OfId)],
    /// What a row's key may be set to and still be the same for its index.
    pub touches: &'static [&'static str],
}

pub const KEYS: &[Key] = &[
    Key {
        columns: "id INT NOT NULL AUTO_INCREMENT",
        index: "PRIMARY KEY (id)",
        changes: &[
            "MODIFY id BIGINT NOT NULL AUTO_INCREMENT",
            "MODIFY id INT NOT NULL",
        ],
        beside_id: &[],
        touches: &[],
    },
    Key {
        columns: "id INT NOT NULL, part VARCHAR(8) NOT NULL",
        index: "PRIMARY KEY (part, id)",
        changes: &[
            "MODIFY part VARCHAR(20) NOT NULL",
            "DROP PRIMARY KEY, ADD PRIMARY KEY (id, part)",
        ],
        beside_id: &[("part", |id| format!("'wört {}'", id.rem_euclid(3)))],
        touches: &["part = UPPER(part)", "part = LOWER(part)"],
    },
    Key {
        columns: "id INT NOT NULL, code BINARY(8) NOT NULL",
        index: "PRIMARY KEY (code)",
        changes: &[
            "DROP PRIMARY KEY, ADD PRIMARY KEY (id), ADD UNIQUE KEY by_code (code)",
            "ADD UNIQUE KEY by_both (id, code)",
        ],
        beside_id: &[("code", |id| {
            // Anywhere between the others, and never twice.
            let code = u64::from(id as u32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            format!("x'{code:016x}'")
        })],
        touches: &[],
    },
    Key {
        columns: "id INT NOT NULL",
        index: "UNIQUE KEY by_key (id)",
        changes: &["ADD PRIMARY KEY (id)", "MODIFY id BIGINT NOT NULL"],
        beside_id: &[],
        touches: &[],
    },
    Key {
        columns: "id INT NOT NULL, at DATETIME(3) NOT NULL",
        index: "PRIMARY KEY (at, id)",
        changes: &["DROP PRIMARY KEY, ADD PRIMARY KEY (id, at)"],
        beside_id: &[("at", |id| {
            format!(
                "'2024-01-01 00:00:00.5' + INTERVAL {} SECOND",
                (id * 7919) % 1000
            )
        })],
        touches: &[],
    },
    Key {
        columns: "id INT NOT NULL, word VARCHAR(20) NOT NULL",
        index: "PRIMARY KEY (word)",
        changes: &["MODIFY word VARCHAR(40) NOT NULL"],
        beside_id: &[("word", |id| format!("'Wört {id}'"))],
        touches: &[
            "word = UPPER(word)",
            "word = LOWER(word)",
            "word = REPLACE(word, 'ö', 'o')",
        ],
    },
    Key {
        columns: "id INT NOT NULL, flags SET('x','','y') NOT NULL, UNIQUE KEY by_key (id)",
        index: "PRIMARY KEY (flags, id)",
        changes: &["MODIFY flags SET('x','','y','z') NOT NULL"],
        beside_id: &[("flags", |id| id.rem_euclid(8).to_string())],
        touches: &[],
    },
    Key {
        columns: "id DECIMAL(12,2) NOT NULL",
        index: "PRIMARY KEY (id)",
        changes: &["MODIFY id DECIMAL(12,2) NOT NULL COMMENT 'new'"],
        beside_id: &[],
        touches: &[],
    },
    Key {
        columns: "id INT NOT NULL, sort ENUM('z','a','m') NOT NULL",
        index: "PRIMARY KEY (sort, id)",
        changes: &["ADD UNIQUE KEY by_key (id)"],
        beside_id: &[("sort", |id| (id.rem_euclid(3) + 1).to_string())],
        touches: &[],
    },
];
