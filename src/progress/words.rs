//! One operation in words.

use super::Operation;
use crate::text::{amount, duration};

/// Whether the words name who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    Driver,
    Nobody,
}

/// What a driver is at, and how far where the copy's percentage does not say it: `copy`, `verify 62 %`.
pub(crate) fn phase(name: &str, percent_verified: Option<f64>) -> String {
    match percent_verified {
        Some(percent) => format!("{name} {:.0} %", percent.floor()),
        None => name.to_owned(),
    }
}

/// The most telling words first; why it waits, as every other surface says it, last.
pub(crate) fn in_words(operation: &Operation, names: Names) -> String {
    // The phase of a former driver stays in the row.
    let at_work = operation.phase.as_deref().zip(operation.driver.as_deref());
    let mut words = vec![match at_work {
        Some((name, _)) => phase(&name.replace('_', " "), operation.percent_verified),
        None => operation.state.replace('_', " "),
    }];
    let name = at_work.map(|(name, _)| name);
    if let (Some("copy"), Some(copied), Some(total)) =
        (name, operation.rows_copied, operation.rows_total)
    {
        words.push(format!(
            "{}/{} rows",
            amount(copied as f64),
            amount(total as f64)
        ));
    }
    if let Some("copy" | "verify") = name {
        let rate = operation.rows_per_second.filter(|rate| *rate > 0.0);
        words.extend(rate.map(|rate| format!("{}/s", amount(rate))));
        words.extend(
            operation
                .seconds_left
                .map(|left| format!("{} left", duration(left))),
        );
    }
    match at_work {
        Some((_, driver)) if names == Names::Driver => words.push(driver.to_owned()),
        Some(_) => {}
        None => words.extend(operation.error.clone()),
    }
    words.extend(operation.waiting.clone());
    words.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copying() -> Operation {
        Operation {
            state: "running".to_owned(),
            phase: Some("copy".to_owned()),
            rows_copied: Some(12_000),
            rows_total: Some(48_000),
            rows_per_second: Some(6_000.0),
            seconds_left: Some(6.0),
            driver: Some("driver-a".to_owned()),
            ..Operation::default()
        }
    }

    #[test]
    fn a_copy_and_a_verification_say_how_far_they_are() {
        let copying = copying();
        assert_eq!(
            in_words(&copying, Names::Nobody),
            "copy  12k/48k rows  6000/s  6.0s left"
        );
        let verifying = Operation {
            phase: Some("verify".to_owned()),
            rows_copied: Some(48_000),
            percent_verified: Some(62.9),
            ..copying
        };
        assert_eq!(
            in_words(&verifying, Names::Driver),
            "verify 62 %  6000/s  6.0s left  driver-a"
        );
        let catching_up = Operation {
            phase: Some("catch_up".to_owned()),
            percent_verified: None,
            ..verifying
        };
        assert_eq!(in_words(&catching_up, Names::Nobody), "catch up");
    }

    #[test]
    fn why_it_waits_is_the_sentence_of_the_view() {
        let throttled = Operation {
            waiting: Some("Throttled: replica lag.".to_owned()),
            ..copying()
        };
        assert!(
            in_words(&throttled, Names::Driver).ends_with("  driver-a  Throttled: replica lag.")
        );
        let retried = Operation {
            state: "failed_retryable".to_owned(),
            driver: None,
            error: Some("no room".to_owned()),
            waiting: Some("The next attempt is not due yet.".to_owned()),
            ..copying()
        };
        assert_eq!(
            in_words(&retried, Names::Nobody),
            "failed retryable  no room  The next attempt is not due yet."
        );
    }
}
