//! What is shown before a change is agreed to.

use super::*;
use crate::engine::table::Way;
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
        room: None,
        warnings: Vec::new(),
        revert_warnings: Vec::new(),
        address: None,
        server: None,
        tables: vec![TableText {
            table: "orders".to_owned(),
            create: Some(format!(
                "CREATE TABLE `orders` (\n  `id` bigint NOT NULL,\n  `total` {total} NOT NULL,\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB"
            )),
        }],
    }
}

#[test]
fn a_disk_without_room_for_the_copy_is_told_below_what_would_be_copied() {
    let full = Examination {
        room: Some(preflight::Finding {
            severity: preflight::Severity::Warning,
            subject: "disk",
            finding: "50 MB are free; table orders has 41 MB, and a copy needs as much again, and the binlog too".to_owned(),
            remedy: "make room before that is changed".to_owned(),
        }),
        ..examination("eu-1", "int")
    };
    let shown = text(&[full], None);
    assert!(
        shown.ends_with("  warning: disk: 50 MB are free; table orders has 41 MB, and a copy needs as much again, and the \
                         binlog too; make room before that is changed\n"),
        "{shown}"
    );
}

fn place(deployment: &str) -> Place {
    Place {
        deployment: deployment.to_owned(),
        host: "db".to_owned(),
        port: 3306,
    }
}

#[test]
fn what_to_know_before_the_swap_is_told_once_with_the_deployments_that_it_is_about() {
    let mut fleet = [examination("eu-1", "int"), examination("us-1", "int")];
    assert_eq!(notes(&fleet, true, None), "");
    for one in &mut fleet {
        one.warnings = vec!["CHECK a becomes b".to_owned()];
    }
    fleet[1].revert_warnings = vec!["there is no former table".to_owned()];
    assert_eq!(notes(&fleet, false, None), "note: CHECK a becomes b\n");
    let said = notes(&fleet, true, None);
    assert!(
        said.ends_with("note: there is no former table (on us-1)\n"),
        "{said}"
    );
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

#[test]
fn after_a_rollout_that_ended_half_way_the_rest_is_named() {
    let refused = |deployment: &str, total: &str| Examination {
        refusal: Some("Duplicate column name 'channel'".to_owned()),
        ..examination(deployment, total)
    };
    let fleet = [
        refused("cell-1", "int"),
        refused("cell-2", "int"),
        examination("cell-3", "int"),
        examination("cell-4", "int"),
    ];
    let done = Rest {
        is_over: true,
        apply_id: 7,
        operations: 4,
        completed: 2,
        error: "cell-3: Duplicate entry".to_owned(),
        deployments: vec!["cell-3".to_owned(), "cell-4".to_owned()],
    };
    let said = next_step(&fleet, &[], Some(&done));
    assert!(
        said.ends_with(
            "apply 7 has made this change on 2 of 4 already, for the rest: --deployment cell-3 --deployment cell-4"
        ),
        "{said}"
    );
    let said = next_step(&fleet, &[], None);
    assert!(
        said.ends_with("submit for the others: --deployment cell-3 --deployment cell-4"),
        "{said}"
    );
    let said = next_step(&fleet[..2], &[], None);
    assert!(said.contains("--no-preflight"), "all refuse: {said}");

    // What is widened twice is refused by nobody, and the tables differ.
    let fleet = [
        examination("cell-1", "bigint"),
        examination("cell-2", "bigint"),
        examination("cell-3", "int"),
        examination("cell-4", "int"),
    ];
    let drifts = preflight::drift(&fleet, &[]);
    let said = next_step(&fleet, &drifts, Some(&done));
    assert!(
        said.ends_with("for the rest: --deployment cell-3 --deployment cell-4"),
        "{said}"
    );
    let said = next_step(&fleet, &drifts, None);
    assert!(
        said.contains("--accept-drift cell-3 --accept-drift cell-4, or"),
        "all of them at once: {said}"
    );
    let said = next_step(&fleet[2..], &drifts, Some(&done));
    assert!(
        said.contains("--accept-drift"),
        "the rest was named already: {said}"
    );
}
