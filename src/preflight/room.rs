//! Whether a deployment's disk has room for a copy.

use super::Place;
use super::checkup::{Finding, Severity, finding, texts, variable};
use crate::engine::preflight::room::{self, Copies};
use crate::engine::session::Session;
use crate::engine::table::TablePlan;

/// With less than that a server is near the end of its disk, whatever its tables take.
const LEAST_MEGABYTES: u64 = 256;

/// For a check-up, which knows of no change: the largest table is what counts.
pub(super) async fn of_largest(place: &Place, session: &mut Session) -> Finding {
    let free = free(place, session).await;
    let query = "SELECT CONCAT(t.TABLE_SCHEMA, '.', t.TABLE_NAME), \
                        CAST(ROUND((t.DATA_LENGTH + t.INDEX_LENGTH) / 1000000) AS CHAR) \
                   FROM information_schema.TABLES AS t \
                  WHERE t.ENGINE = 'InnoDB' AND t.TABLE_SCHEMA NOT IN ('mysql', 'sys') \
                    AND t.TABLE_NAME NOT LIKE '\\_lk\\_%' \
                  ORDER BY t.DATA_LENGTH + t.INDEX_LENGTH DESC LIMIT 1";
    let largest = texts(session, query).await.unwrap_or_default();
    let largest = match largest.first().map(Vec::as_slice) {
        Some([table, megabytes]) => Some((
            format!("the largest table, {table},"),
            megabytes.parse().unwrap_or(0),
        )),
        Some(_) | None => None,
    };
    enough(free, largest)
}

/// For a change; `None` where nothing is wrong, or nothing can be known.
pub(super) async fn of_copies(
    place: &Place,
    session: &mut Session,
    plans: &[TablePlan],
) -> Option<Finding> {
    let copies = Copies::of(session, plans).await.ok()?;
    if copies.tables.is_empty() {
        return None;
    }
    let free = free(place, session).await;
    let found = enough(free, Some((copies.in_words(), copies.megabytes)));
    (found.severity == Severity::Warning).then_some(found)
}

/// Megabytes. No SQL tells the free space of a disk. It can be seen where the server is on this machine.
async fn free(place: &Place, session: &mut Session) -> Option<u64> {
    if !matches!(place.host.as_str(), "localhost" | "127.0.0.1" | "::1") {
        return None;
    }
    room::free(&variable(session, "datadir").await?)
}

/// `tables`: what is copied, with its megabytes; None where the account sees no table.
fn enough(free: Option<u64>, tables: Option<(String, u64)>) -> Finding {
    let megabytes = tables.as_ref().map_or(0, |(_, megabytes)| *megabytes);
    let needed = tables.map_or(
        "the account sees no table".to_owned(),
        |(what, megabytes)| format!("{what} has {megabytes} MB, and a copy needs as much again"),
    );
    match free {
        Some(free) if free < megabytes.saturating_mul(2).max(LEAST_MEGABYTES) => {
            let what = format!("{free} MB are free; {needed}, and the binlog too");
            finding(
                Severity::Warning,
                "disk",
                what,
                "make room before that is changed",
            )
        }
        Some(free) => finding(
            Severity::Good,
            "disk",
            format!("{free} MB are free; {needed}"),
            "",
        ),
        None => {
            let what = format!("free space is not known: MySQL doesn't tell; {needed}");
            finding(Severity::Note, "disk", what, "")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_less_than_twice_the_table_is_warned_about() {
        let judged = |free| enough(free, Some(("table orders".to_owned(), 500)));
        assert_eq!(judged(Some(999)).severity, Severity::Warning);
        assert_eq!(judged(Some(1000)).severity, Severity::Good);
        assert_eq!(judged(None).severity, Severity::Note);
        let little = judged(Some(999));
        assert!(
            little.finding.contains("999 MB are free") && little.finding.contains("table orders"),
            "{}",
            little.finding
        );
        assert!(little.remedy.contains("make room"));
    }
}
