//! Why an operation doesn't move, in one sentence: the same on every surface. The views decide; where they have no sentence
//! for what they show, it is here.

/// What the views say of one operation; empty where they say nothing.
#[derive(Debug, Default)]
pub(super) struct Seen<'a> {
    pub state: &'a str,
    pub blocked_reason: &'a str,
    pub is_stale: bool,
    pub driver: &'a str,
    pub heartbeat_age_seconds: &'a str,
    /// The claim that it is offered to.
    pub claim: &'a str,
    pub throttled_by: &'a str,
}

/// Its apply, as far as a sentence speaks of it.
#[derive(Debug, Default)]
pub(super) struct Around<'a> {
    /// As the user named it.
    pub apply: &'a str,
    pub state: &'a str,
    /// The first deployment that has not swapped and is at the barrier.
    pub first_at_barrier: &'a str,
}

pub(super) const AT_BARRIER: &str = "waiting_for_cutover";

/// Nothing of one that a driver works on at full speed, and of a settled one.
pub(super) fn sentence(deployment: &str, seen: &Seen<'_>, around: &Around<'_>) -> Option<String> {
    if !seen.blocked_reason.is_empty() {
        return Some(seen.blocked_reason.to_owned());
    }
    if seen.is_stale {
        return Some(format!(
            "its driver {} was last heard of {} s ago; any driver may take it over",
            seen.driver, seen.heartbeat_age_seconds
        ));
    }
    // The apply's own state says that a person is waited for.
    if seen.state == AT_BARRIER && around.state == AT_BARRIER {
        let whom = match around.first_at_barrier {
            first if first == deployment => "it",
            first => first,
        };
        return Some(format!(
            "caught up; `lockkeeper cutover {}` lets {whom} swap",
            around.apply
        ));
    }
    if seen.driver.is_empty() {
        // What throttled it last stays in the row of one that nobody works on.
        return (!seen.claim.is_empty())
            .then(|| format!("any driver may claim its {} now", seen.claim));
    }
    (!seen.throttled_by.is_empty()).then(|| format!("throttled: {}", seen.throttled_by))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_of_the_view_comes_first_and_a_person_is_told_what_is_waited_for() {
        let around = Around {
            apply: "7",
            state: AT_BARRIER,
            first_at_barrier: "eu-1",
        };
        let held = Seen {
            state: AT_BARRIER,
            driver: "driver-1",
            ..Seen::default()
        };
        let said = |deployment| sentence(deployment, &held, &around);
        let first = "caught up; `lockkeeper cutover 7` lets it swap";
        assert_eq!(said("eu-1").as_deref(), Some(first));
        let second = "caught up; `lockkeeper cutover 7` lets eu-1 swap";
        assert_eq!(said("us-1").as_deref(), Some(second));
        let blocked = Seen {
            blocked_reason: "The copy waits.",
            claim: "copy",
            ..Seen::default()
        };
        let said = sentence("eu-1", &blocked, &around);
        assert_eq!(said.as_deref(), Some("The copy waits."));
    }

    #[test]
    fn what_throttled_a_copy_once_is_not_told_of_one_that_nobody_works_on() {
        let mut seen = Seen {
            state: "running",
            driver: "driver-1",
            throttled_by: "replica lag",
            ..Seen::default()
        };
        let said = |seen: &Seen<'_>| sentence("eu-1", seen, &Around::default());
        assert_eq!(said(&seen).as_deref(), Some("throttled: replica lag"));
        (seen.driver, seen.claim) = ("", "copy");
        let free = "any driver may claim its copy now";
        assert_eq!(said(&seen).as_deref(), Some(free));
    }
}
