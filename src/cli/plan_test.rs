use super::*;
use crate::preflight::{Planned, TableText};
use crate::text::golden;

const STATEMENT: &str = "ALTER TABLE orders MODIFY total DECIMAL(14,2) NOT NULL, ADD COLUMN channel VARCHAR(20) NOT NULL \
                         DEFAULT 'web', ADD INDEX orders_by_channel (channel, placed_at)";

fn examination(deployment: &str, total: &str) -> Examination {
    Examination {
        deployment: deployment.to_owned(),
        unreachable: None,
        refusal: None,
        planned: vec![Planned {
            statement: STATEMENT.to_owned(),
            way: Way::Copy,
            way_in_words: "copy while the application writes",
            rows: 148_222,
            bytes: 43_000_000,
        }],
        tables: vec![TableText {
            table: "orders".to_owned(),
            create: Some(format!(
                "CREATE TABLE `orders` (\n  `id` bigint NOT NULL,\n  `total` {total} NOT NULL,\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB"
            )),
        }],
    }
}

fn place(deployment: &str) -> Place {
    Place {
        deployment: deployment.to_owned(),
        host: "db".to_owned(),
        port: 3306,
    }
}

#[test]
fn a_revert_window_that_would_have_nothing_to_go_back_to_is_told_by_name() {
    let mut fleet = [examination("eu-1", "int"), examination("us-1", "int")];
    assert_eq!(without_former_table(&fleet, None), "");
    fleet[1].planned[0].way = Way::Instant;
    let said = without_former_table(&fleet, None);
    assert!(said.ends_with("closes at once on us-1.\n"), "{said}");
}

/// One that would be copied, one that is refused, one that can't be reached, and one whose table differs.
#[test]
fn the_plan_of_a_submit_fits_80_columns() {
    let fleet = [
        examination("eu-1", "int"),
        Examination {
            refusal: Some(
                "table shop.orders has triggers (orders_audit), which a copy would not fire; drop them for the time of \
                 the change, or take another way"
                    .to_owned(),
            ),
            planned: Vec::new(),
            ..examination("eu-2", "int")
        },
        Examination {
            unreachable: Some(
                "lockkeeper@db-us-1:3306: no MySQL server answers (Connection refused); is it running, and is its \
                 address right in `lockkeeper deployment list`?"
                    .to_owned(),
            ),
            planned: Vec::new(),
            tables: Vec::new(),
            ..examination("us-1", "int")
        },
        examination("ap-1", "smallint"),
    ];
    let places = ["eu-1", "eu-2", "us-1", "ap-1"].map(place);
    let shown = |width| {
        format!(
            "{}{}{}",
            text(&fleet, width),
            drift_text(&preflight::drift(&fleet, &[])),
            question(
                "shop",
                &[STATEMENT.to_owned()],
                &places,
                "cutover_policy barrier, revert_window_seconds 3600",
                width
            )
        )
    };
    let narrow = shown(Some(80));
    let longest = narrow.lines().map(|line| line.chars().count()).max();
    assert!(longest <= Some(80), "{narrow}");
    golden("submit-80.txt", &narrow);
    let words = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(words(&narrow), words(&shown(None)), "no word is broken");
}
