//! Values of every type, copied and streamed, are compared bit by bit by statements of the test's own.

mod deployment;
mod support;

use deployment::{Deployment, copied};

/// `(column, type, values)`: each value goes through the copy and through the binlog.
const COLUMNS: &[(&str, &str, &[&str])] = &[
    ("t1", "TINYINT", &["-128", "127", "0"]),
    ("t1u", "TINYINT UNSIGNED", &["255"]),
    ("t2", "SMALLINT", &["-32768", "32767"]),
    ("t3", "MEDIUMINT", &["-8388608", "8388607"]),
    ("t3u", "MEDIUMINT UNSIGNED", &["16777215"]),
    ("t4", "INT", &["-2147483648", "2147483647"]),
    (
        "t8",
        "BIGINT",
        &["-9223372036854775808", "9223372036854775807"],
    ),
    ("t8u", "BIGINT UNSIGNED", &["18446744073709551615"]),
    (
        "dec1",
        "DECIMAL(65,30)",
        &[
            "99999999999999999999999999999999999.999999999999999999999999999999",
            "-99999999999999999999999999999999999.999999999999999999999999999999",
            "0.000000000000000000000000000001",
            "-0.5",
            "0",
        ],
    ),
    ("dec2", "DECIMAL(9,0)", &["999999999", "-1"]),
    (
        "f4",
        "FLOAT",
        &[
            "1234567",
            "16777215",
            "3.4028234e38",
            "1.17549435e-38",
            "0.1",
            "-0e0",
        ],
    ),
    (
        "f8",
        "DOUBLE",
        &[
            "0.1e0+0.2e0",
            "5e-324",
            "1.7976931348623157e308",
            "-0e0",
            "123456789012345680",
        ],
    ),
    ("f7", "FLOAT(7,3)", &["1.2345", "9999.999"]),
    ("b1", "BIT(1)", &["b'1'", "b'0'"]),
    (
        "b64",
        "BIT(64)",
        &[
            "b'1111111111111111111111111111111111111111111111111111111111111111'",
            "b'10'",
        ],
    ),
    ("b9", "BIT(9)", &["b'100000001'"]),
    ("y", "YEAR", &["1901", "2155", "0"]),
    (
        "d",
        "DATE",
        &[
            "'0000-00-00'",
            "'9999-12-31'",
            "'2024-02-29'",
            "'2024-02-00'",
        ],
    ),
    ("tm", "TIME", &["'-838:59:59'", "'838:59:59'", "'00:00:00'"]),
    ("tm1", "TIME(1)", &["'-00:00:00.1'", "'-12:34:56.7'"]),
    (
        "tm6",
        "TIME(6)",
        &["'-00:00:00.000001'", "'12:34:56.789012'"],
    ),
    (
        "dt",
        "DATETIME",
        &[
            "'1000-01-01 00:00:00'",
            "'9999-12-31 23:59:59'",
            "'0000-00-00 00:00:00'",
        ],
    ),
    ("dt3", "DATETIME(3)", &["'2024-03-31 02:30:00.123'"]),
    ("dt6", "DATETIME(6)", &["'2024-03-31 02:30:00.000001'"]),
    (
        "ts",
        "TIMESTAMP",
        &[
            "'1970-01-01 00:00:01'",
            "'2038-01-19 03:14:07'",
            "'2024-10-27 01:30:00'",
            "'0000-00-00 00:00:00'",
        ],
    ),
    ("ts6", "TIMESTAMP(6)", &["'2024-10-27 00:30:00.999999'"]),
    (
        "c",
        "CHAR(10) CHARACTER SET utf8mb4",
        &["'a  '", "'ä😀'", "''"],
    ),
    (
        "cb",
        "CHAR(100) CHARACTER SET utf8mb4",
        &["REPEAT('é', 100)"],
    ),
    (
        "vc",
        "VARCHAR(300) CHARACTER SET utf8mb4",
        &[
            "'a  '",
            "''",
            "REPEAT('x', 300)",
            "'quote '' back \\\\ nul \\0 end'",
        ],
    ),
    (
        "l1",
        "VARCHAR(20) CHARACTER SET latin1",
        &["_latin1 x'e9ff80'", "''"],
    ),
    ("sj", "VARCHAR(20) CHARACTER SET sjis", &["_sjis x'835c'"]),
    ("u16", "VARCHAR(20) CHARACTER SET utf16", &["'aé😀'"]),
    (
        "bi",
        "BINARY(16)",
        &["x'0102030000000000'", "x''", "x'20202020'"],
    ),
    ("vb", "VARBINARY(40)", &["x'00ff275c2200'", "x'20'", "x''"]),
    ("tb", "TINYBLOB", &["x'00'"]),
    ("bl", "BLOB", &["REPEAT(x'fe', 60000)", "x''"]),
    ("lb", "LONGBLOB", &["REPEAT(x'c3', 100000)"]),
    ("tt", "TINYTEXT", &["'t'"]),
    ("tx", "TEXT", &["REPEAT('ü', 20000)"]),
    ("lt", "LONGTEXT", &["REPEAT('z', 100000)"]),
    ("e", "ENUM('z','a','it''s','ü')", &["'z'", "'it''s'", "'ü'"]),
    ("s1", "SET('a','b','')", &["0", "4", "5"]),
    ("e1", "ENUM('x','')", &["1", "2"]),
    ("s", "SET('a','b','c d')", &["'a,b'", "''"]),
    (
        "g",
        "GEOMETRY",
        &[
            "ST_GeomFromText('POINT(1 2)', 4326)",
            "ST_GeomFromText('LINESTRING(0 0,1 1)')",
        ],
    ),
    (
        "p",
        "POINT SRID 4326",
        &["ST_GeomFromText('POINT(10 20)', 4326)"],
    ),
    (
        "j",
        "JSON",
        &[
            "CAST(1 AS JSON)",
            "CAST(1e0 AS JSON)",
            "CAST(CAST(1 AS UNSIGNED) AS JSON)",
            "CAST(CAST(1.50 AS DECIMAL(4,2)) AS JSON)",
            "CAST('18446744073709551615' AS JSON)",
            "CAST('-9223372036854775808' AS JSON)",
            "CAST('1e308' AS JSON)",
            "CAST('-0.0' AS JSON)",
            "CAST('0.12345678901234567' AS JSON)",
            "CAST('\"\"' AS JSON)",
            "CAST('null' AS JSON)",
            "CAST(5000000000 AS JSON)",
            "CAST('5000000000' AS JSON)",
            "JSON_ARRAY(5000000000, -5000000000)",
            "JSON_ARRAY(4294967295, 4294967296)",
            "JSON_ARRAY(CAST(4294967296 AS UNSIGNED), CAST(4294967295 AS UNSIGNED))",
            "JSON_ARRAY(9088544342.689999e0, 5e-324, 1.7976931348623157e308, 1e23, 1.4334335999999999e0)",
            "CAST(9088544342.689999e0 AS JSON)",
            "CAST('[true,false,null,{}]' AS JSON)",
            "JSON_OBJECT('d', DATE '2024-02-29', 't', TIME '-12:34:56.789012', 'dt', TIMESTAMP '2024-02-29 12:34:56.789012')",
            "JSON_OBJECT('bit', b'1010', 'bin', CAST(x'00ff' AS BINARY), 'a', 'é😀', '', 1, 'A', 2)",
            "(SELECT JSON_OBJECT('b', b, 'tb', tb, 'bl', bl, 'mb', mb, 'lb', lb, 'vb', vb, 'bit', bi, 'ts', ts) FROM typed)",
            "(SELECT JSON_ARRAY(ts, bi) FROM typed)",
            "JSON_ARRAY(CAST(-1.5 AS DECIMAL(65,30)), CAST(300 AS UNSIGNED), 70000, -70000, 5000000000, 'x\\\\y\"z\\n')",
            "JSON_OBJECT('big', REPEAT('x', 70000), 'n', JSON_ARRAY(1, 2.5e0, JSON_ARRAY(CAST(0.1 AS DECIMAL(3,1)))))",
        ],
    ),
];

/// A text that tells any two values of a column apart.
fn shown(column: &str, kind: &str) -> String {
    if kind == "JSON" {
        return format!(
            "CONCAT(JSON_TYPE({column}), CAST({column} AS CHAR), IFNULL(JSON_TYPE({column}->'$.d'), '-'), \
             IFNULL(JSON_TYPE({column}->'$.t'), '-'), IFNULL(JSON_TYPE({column}->'$.dt'), '-'), IFNULL(JSON_TYPE({column}->'$.bit'), '-'), \
             IFNULL(JSON_TYPE({column}->'$.bin'), '-'), IFNULL(JSON_TYPE({column}->'$.ts'), '-'), IFNULL(JSON_TYPE({column}->'$[0]'), '-'), IFNULL(JSON_TYPE({column}->'$[1]'), '-'), \
             IFNULL(JSON_TYPE({column}->'$.n[2][0]'), '-'))"
        );
    }
    match kind {
        "FLOAT" | "DOUBLE" | "FLOAT(7,3)" => format!("CAST(CAST({column} AS DOUBLE) AS CHAR)"),
        k if k.starts_with("BIT") => format!("HEX({column} + 0)"),
        k if k.starts_with("GEO") || k.starts_with("POINT") => format!("HEX({column})"),
        k if k.contains("CHAR")
            || k.contains("BIN")
            || k.contains("BLOB")
            || k.contains("TEXT") =>
        {
            format!("CONCAT(LENGTH({column}), '/', HEX({column}))")
        }
        k if k.starts_with("SET") || k.starts_with("ENUM") => {
            format!("CONCAT({column}, '/', {column} + 0)")
        }
        _ => format!("CAST({column} AS CHAR)"),
    }
}

async fn insert(deployment: &mut Deployment, ids: &mut u32) {
    for (column, _, values) in COLUMNS {
        for value in *values {
            *ids += 1;
            deployment
                .run(&format!(
                    "INSERT INTO orders (id, {column}) VALUES ({ids}, {value})"
                ))
                .await;
        }
    }
}

async fn compare(deployment: &mut Deployment, old: &str) {
    for (column, kind, _) in COLUMNS {
        let shown = shown(column, kind);
        let different = deployment
            .text(&format!(
                "SELECT GROUP_CONCAT(n.id, ' was ', LEFT(IFNULL(o.v, 'NULL'), 60), ' is ', LEFT(IFNULL(n.v, 'NULL'), 60) SEPARATOR '; ') \
                 FROM (SELECT id, {shown} AS v FROM orders) AS n JOIN (SELECT id, {shown} AS v FROM `{old}`) AS o ON n.id = o.id \
                 WHERE NOT (BINARY n.v <=> BINARY o.v)"
            ))
            .await;
        assert_eq!(different, "NULL", "column {column} {kind}");
    }
    let rows = deployment
        .text("SELECT CAST(COUNT(*) AS CHAR) FROM orders")
        .await;
    let old_rows = deployment
        .text(&format!("SELECT CAST(COUNT(*) AS CHAR) FROM `{old}`"))
        .await;
    assert_eq!(rows, old_rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_value_survives_the_copy_and_the_stream() {
    let mut deployment = Deployment::fresh().await;
    deployment
        .run("SET SESSION sql_mode = 'ALLOW_INVALID_DATES', time_zone = '-03:00', innodb_strict_mode = OFF")
        .await;
    let columns: Vec<String> = COLUMNS
        .iter()
        .map(|(name, kind, _)| format!("{name} {kind} NULL"))
        .collect();
    deployment
        .run(&format!(
            "CREATE TABLE orders (id INT PRIMARY KEY, {})",
            columns.join(", ")
        ))
        .await;
    // JSON remembers from what type of column its opaque values come.
    deployment
        .run(
            "CREATE TABLE typed (b BINARY(4), tb TINYBLOB, bl BLOB, mb MEDIUMBLOB, lb LONGBLOB, vb VARBINARY(9), bi BIT(10), ts TIMESTAMP(6)); \
             INSERT INTO typed VALUES (x'00ff', x'00', x'ff27', '', x'c3', x'5c', b'1010', '2024-02-29 12:34:56.789012')",
        )
        .await;
    let mut ids = 0;
    insert(&mut deployment, &mut ids).await;
    let last = ids;

    let job = deployment.job(&["ALTER TABLE orders MODIFY id BIGINT NOT NULL"]);
    let (mut engine, _lease) = copied(&deployment, job).await;

    // The same values again, through the binlog: as inserts, and as updates of copied rows.
    insert(&mut deployment, &mut ids).await;
    deployment
        .run(&format!(
            "UPDATE orders SET t4 = 5 WHERE id <= {last} AND t4 IS NULL"
        ))
        .await;
    assert_eq!(
        engine.differences().await.expect("a comparison"),
        Vec::<String>::new()
    );
    engine.cut_over().await.expect("the swap");
    let old = deployment.ours("_old").await;
    compare(&mut deployment, &old).await;
    engine.finish().await.expect("the end");
    engine.close().await;
}
