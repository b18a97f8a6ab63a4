//! What the screen looks like, at several widths and heights.

use super::super::fleet::{Event, Health, Last};
use super::*;
use crate::text::golden;

fn operation(id: u64, deployment: &str, state: &str, percent: f64) -> Operation {
    Operation {
        operation_id: id,
        deployment: deployment.to_owned(),
        state: state.to_owned(),
        percent,
        ..Operation::default()
    }
}

/// Four deployments under `barrier`: one swapped, one at the barrier, one copying, one that waits.
fn fleet() -> Fleet {
    let copying = Operation {
        phase: Some("copy".to_owned()),
        rows_per_second: Some(184_200.0),
        seconds_left: Some(75.0),
        lag_seconds: Some(0.4),
        driver: Some("driver-b".to_owned()),
        throttled_by: Some("replica lag of 12 s".to_owned()),
        waiting: Some("Throttled: replica lag of 12 s.".to_owned()),
        ..operation(13, "us-east-1", "running", 61.8)
    };
    let parked = Operation {
        waiting: Some(
            "The cutover waits for eu-west-1, which comes earlier and is in state revert_window."
                .to_owned(),
        ),
        ..operation(12, "eu-west-2", "waiting_for_cutover", 100.0)
    };
    let window = Operation {
        driver: Some("driver-a".to_owned()),
        ..operation(11, "eu-west-1", "revert_window", 100.0)
    };
    let waiting = Operation {
        waiting: Some("max_copies is reached; us-east-1 is running.".to_owned()),
        ..operation(14, "ap-south-1", "pending", 0.0)
    };
    Fleet {
        now: "2026-11-21 22:20:31".to_owned(),
        drivers_alive: 2,
        applies: vec![Apply {
            apply_id: 7,
            name: "orders-total".to_owned(),
            schema: "shop".to_owned(),
            state: "running".to_owned(),
            cutover_policy: "barrier".to_owned(),
            percent: 65.4,
            seconds_left: Some(75.0),
            next_swap: Some("eu-west-2".to_owned()),
            operations: vec![window, parked, copying, waiting],
            ..Apply::default()
        }],
        health: vec![Health {
            severity: "warning".to_owned(),
            sentence: "operation 13 on us-east-1: its driver driver-b was last heard from 75 s ago; start a driver, \
                       which takes it over"
                .to_owned(),
        }],
        health_total: 1,
        last: None,
        events: vec![
            Event {
                at: "22:20:01".to_owned(),
                sentence: "apply 7  eu-west-2  running → waiting_for_cutover".to_owned(),
            },
            Event {
                at: "22:19:58".to_owned(),
                sentence: "apply 7  eu-west-1  cutting_over → revert_window".to_owned(),
            },
        ],
    }
}

fn shown(fleet: &Fleet, width: usize, height: Option<usize>) -> String {
    scrolled(fleet, width, height, 0)
}

fn scrolled(fleet: &Fleet, width: usize, height: Option<usize>, scroll: usize) -> String {
    let view = View {
        fleet,
        selected: height.map(|_| 7),
        message: if height.is_some() {
            "Stop apply 7 (orders-total)? y/n"
        } else {
            ""
        },
        width,
        height,
        scroll,
        has_keys: height.is_some(),
    };
    let lines = lines(&view);
    for line in &lines {
        assert!(
            line.plain().width() <= width,
            "too long for {width}: {}",
            line.plain()
        );
    }
    lines.iter().map(|line| line.plain() + "\n").collect()
}

#[test]
fn a_fleet_is_shown_on_80_columns() {
    golden("watch-80.txt", &shown(&fleet(), 80, None));
}

#[test]
fn a_fleet_is_shown_on_200_columns() {
    golden("watch-200.txt", &shown(&fleet(), 200, None));
}

/// A part of a number is another number.
#[test]
fn numbers_are_shown_whole_or_not_at_all_beside_long_names() {
    for name in ["us-east-1.example", "db-eu-west-1.example:3306", "eu-1"] {
        let mut fleet = fleet();
        for operation in &mut fleet.applies[0].operations {
            operation.deployment = name.to_owned();
        }
        let numbers = ["184k/s", "75s", "+0.4s"];
        for width in 20..=130 {
            let text = shown(&fleet, width, None);
            let line = text.lines().find(|line| line.contains("copying"));
            let shown: Vec<&str> = line
                .and_then(|line| line.split_once("copying"))
                .map_or_else(Vec::new, |(_, rest)| rest.split_whitespace().collect());
            let shown = &shown[..shown.len().min(numbers.len())];
            assert_eq!(shown, &numbers[..shown.len()], "{width}: {text}");
            assert!(width < 80 || shown.len() == 3, "{width}: {text}");
        }
    }
}

#[test]
fn bars_begin_in_one_column_beside_names_of_wide_characters() {
    let mut fleet = fleet();
    let names = ["東京", "大阪-2", "us-east-1", "서울"];
    for (operation, name) in fleet.applies[0].operations.iter_mut().zip(names) {
        operation.deployment = name.to_owned();
    }
    let text = shown(&fleet, 80, None);
    let bars = text.lines().filter_map(|line| line.split_once(['█', '░']));
    let begin: Vec<usize> = bars.map(|(name, _)| name.width()).collect();
    assert_eq!(begin, [begin[0]; 4], "{text}");
}

#[test]
fn a_live_screen_fills_the_terminal_and_has_its_keys_at_the_bottom() {
    let text = shown(&fleet(), 80, Some(24));
    assert_eq!(text.lines().count(), 24);
    golden("watch-live.txt", &text);
}

#[test]
fn a_screen_that_is_too_small_says_what_it_leaves_out() {
    let text = shown(&fleet(), 80, Some(8));
    assert_eq!(text.lines().count(), 8);
    assert!(text.contains("more lines"), "{text}");
    assert!(text.contains("y/n"), "the question stays: {text}");
}

/// Every deployment in trouble, of which each says so in three rows.
fn troubled(deployments: u64) -> Fleet {
    let mut fleet = fleet();
    let trouble = &fleet.health[0];
    fleet.health = (0..10).map(|_| trouble.clone()).collect();
    fleet.health_total = usize::try_from(deployments).expect("few");
    let apply = &mut fleet.applies[0];
    apply.next_swap = Some("cell-0".to_owned());
    apply.operations = (0..deployments)
        .map(|number| {
            operation(
                number,
                &format!("cell-{number}"),
                "waiting_for_cutover",
                100.0,
            )
        })
        .collect();
    fleet
}

#[test]
fn trouble_leaves_room_for_the_deployments_and_the_next_swap() {
    let text = shown(&troubled(12), 80, Some(24));
    assert!(text.contains("… and 9 more: `lockkeeper doctor`"), "{text}");
    assert!(text.contains("next swap: cell-0"), "{text}");
    for number in 0..5 {
        assert!(text.contains(&format!("  cell-{number} ")), "{text}");
    }
    assert!(!text.contains("watch APPLY"), "there is but one: {text}");
    let small = shown(&troubled(12), 80, Some(12));
    assert!(
        small.contains("… and 11 more") && small.contains("next swap"),
        "{small}"
    );
}

#[test]
fn what_does_not_fit_is_reached_by_scrolling() {
    let fleet = troubled(40);
    let first = shown(&fleet, 80, Some(24));
    assert!(!first.contains("  cell-39 "), "{first}");
    let last = scrolled(&fleet, 80, Some(24), usize::MAX);
    assert!(last.contains("  cell-39 "), "{last}");
    assert!(
        last.contains(" lines above: PgUp") && !last.contains("PgDn"),
        "{last}"
    );
    assert_eq!(last.lines().count(), 24);
    assert_eq!(first.lines().next(), last.lines().next(), "the head stays");
}

#[test]
fn where_nothing_goes_on_the_last_apply_and_its_end_are_shown() {
    let last = Last {
        apply_id: 7,
        name: "orders-total".to_owned(),
        state: "failed".to_owned(),
        finished_at: "2026-11-21 22:20:01".to_owned(),
        operations: 12,
        completed: 4,
        error: "cell-5: Duplicate entry".to_owned(),
    };
    let fleet = Fleet {
        now: "2026-11-21 22:25:00".to_owned(),
        last: Some(last),
        ..Fleet::default()
    };
    let text = shown(&fleet, 200, None);
    let told = "apply 7 (orders-total), ended failed at 2026-11-21 22:20:01 UTC after 4 of 12: cell-5: Duplicate entry; \
                `lockkeeper why 7`";
    assert!(
        text.contains("Nothing is going on") && text.contains(told),
        "{text}"
    );
    let text = shown(&Fleet::default(), 200, None);
    assert!(
        !text.contains("Nothing is going on"),
        "nobody has looked: {text}"
    );
}

#[test]
fn a_narrow_terminal_is_not_overrun() {
    for width in [20, 40, 60] {
        shown(&fleet(), width, Some(30));
    }
}

#[test]
fn who_is_at_the_barrier_is_shown_with_the_next_swap_if_one_can_come() {
    let mut fleet = fleet();
    let barrier = "at the barrier: eu-west-2";
    let text = shown(&fleet, 200, None);
    assert!(
        text.contains(&format!("{barrier}; next swap: eu-west-2\n")),
        "{text}"
    );
    fleet.applies[0].next_swap = None;
    let text = shown(&fleet, 200, None);
    assert!(text.contains(&format!("{barrier}\n")), "{text}");
}

#[test]
fn a_verification_shows_how_far_it_is_while_the_copy_stays_whole() {
    let mut fleet = fleet();
    fleet.applies[0].operations[2] = Operation {
        phase: Some("verify".to_owned()),
        percent_verified: Some(62.9),
        ..operation(13, "us-east-1", "running", 100.0)
    };
    let text = shown(&fleet, 80, None);
    assert!(text.contains(" 100 % verifying 62 %"), "{text}");
}
