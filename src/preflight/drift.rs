//! Is a table the same on all deployments? Compared as `SHOW CREATE TABLE` shows it, but for the AUTO_INCREMENT counter.

use serde::Serialize;

use super::difference::unified;
use super::trial::Examination;

/// A deployment whose table differs from what most have.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Drift {
    pub deployment: String,
    pub table: String,
    /// One of those that most are like.
    pub like: String,
    pub difference: Vec<String>,
}

/// The differences of those that are not `accepted`.
pub fn drift(examinations: &[Examination], accepted: &[String]) -> Vec<Drift> {
    let looked_at: Vec<&Examination> = examinations
        .iter()
        .filter(|one| one.unreachable.is_none() && !accepted.contains(&one.deployment))
        .collect();
    let mut tables: Vec<&str> = Vec::new();
    for table in looked_at.iter().flat_map(|one| &one.tables) {
        if !tables.contains(&table.table.as_str()) {
            tables.push(&table.table);
        }
    }
    let mut drifts = Vec::new();
    for table in tables {
        let texts: Vec<(&str, String)> = looked_at
            .iter()
            .filter_map(|one| {
                let text = one.tables.iter().find(|text| text.table == table)?;
                let create = text
                    .create
                    .as_deref()
                    .map_or("(no such table)".to_owned(), comparable);
                Some((one.deployment.as_str(), create))
            })
            .collect();
        let votes = |text: &str| texts.iter().filter(|(_, other)| other == text).count();
        // The first of those that most agree with.
        let mut best: Option<&(&str, String)> = None;
        for one in &texts {
            if best.is_none_or(|best| votes(&one.1) > votes(&best.1)) {
                best = Some(one);
            }
        }
        let Some((like, common)) = best else { continue };
        for (deployment, text) in texts.iter().filter(|(_, text)| text != common) {
            drifts.push(Drift {
                deployment: (*deployment).to_owned(),
                table: table.to_owned(),
                like: (*like).to_owned(),
                difference: unified(common, text),
            });
        }
    }
    drifts
}

/// Without the counter, which differs wherever rows do. It stands on the last line alone, before any comment.
fn comparable(create: &str) -> String {
    let (body, options) = create.rsplit_once("\n) ENGINE=").unwrap_or((create, ""));
    if options.is_empty() {
        return create.to_owned();
    }
    let comment = options.find(" COMMENT='").unwrap_or(options.len());
    let (options, comment) = options.split_at(comment);
    let words: Vec<&str> = options
        .split(' ')
        .filter(|word| !word.starts_with("AUTO_INCREMENT="))
        .collect();
    format!("{body}\n) ENGINE={}{comment}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::trial::TableText;
    use super::*;

    fn examination(deployment: &str, create: Option<&str>) -> Examination {
        Examination {
            room: None,
            warnings: Vec::new(),
            revert_warnings: Vec::new(),
            address: None,
            server: None,
            deployment: deployment.to_owned(),
            unreachable: None,
            refusal: None,
            planned: Vec::new(),
            tables: vec![TableText {
                table: "t".to_owned(),
                create: create.map(str::to_owned),
            }],
        }
    }

    const SAME: &str =
        "CREATE TABLE `t` (\n  `a` int\n) ENGINE=InnoDB AUTO_INCREMENT=5 DEFAULT CHARSET=utf8mb4";
    const OTHER: &str = "CREATE TABLE `t` (\n  `a` bigint\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";

    #[test]
    fn the_one_that_differs_is_named_with_a_diff_and_may_be_accepted() {
        let counter = SAME.replace("=5", "=77");
        let fleet = [
            examination("odd", Some(OTHER)),
            examination("a", Some(SAME)),
            examination("b", Some(&counter)),
        ];
        let found = drift(&fleet, &[]);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].deployment.as_str(), found[0].like.as_str()),
            ("odd", "a")
        );
        assert!(found[0].difference.contains(&"-  `a` int".to_owned()));
        assert!(found[0].difference.contains(&"+  `a` bigint".to_owned()));
        assert!(drift(&fleet, &["odd".to_owned()]).is_empty());
        assert_eq!(
            drift(&fleet, &["a".to_owned()]).len(),
            1,
            "one accepted name excuses no other"
        );
    }

    #[test]
    fn a_missing_table_is_a_difference_and_an_unknown_one_is_not() {
        let mut fleet = [examination("a", Some(SAME)), examination("b", None)];
        assert_eq!(drift(&fleet, &[])[0].deployment, "b");
        fleet[1].unreachable = Some("down".to_owned());
        assert!(drift(&fleet, &[]).is_empty());
    }

    #[test]
    fn a_comment_that_speaks_of_the_counter_is_compared() {
        let with = |comment: &str| format!("{SAME} COMMENT='{comment}'");
        assert_ne!(
            comparable(&with("AUTO_INCREMENT=1 x")),
            comparable(&with("x"))
        );
    }
}
