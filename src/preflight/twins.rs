//! One server under two names: by its address it may not show, as 127.0.0.1 and localhost, or an alias of the name server.

use super::Place;
use super::checkup::{Finding, Severity, finding, texts};
use super::trial::Examination;
use crate::config::Access;
use crate::engine::session::Session;
use crate::text::shell_quoted;

/// What tells a server from all others. The UUID alone doesn't: a copied data folder has it, too.
pub(super) async fn identity(session: &mut Session) -> Option<String> {
    let identity = "SELECT CONCAT_WS(' ', @@GLOBAL.server_uuid, @@GLOBAL.hostname, @@GLOBAL.port)";
    let rows = texts(session, identity).await;
    rows.ok()?.first()?.first().cloned()
}

/// The same of a deployment; `None` where it can't be asked.
pub async fn server_of(place: &Place, access: &Access) -> Option<String> {
    let (mut session, _) = place.session(access).await.ok()?;
    let identity = identity(&mut session).await;
    session.close().await;
    identity
}

/// Says of each deployment whether another one before it is on the same server: a change would come to its table twice.
pub fn note_twins(examinations: &mut [Examination]) {
    let known: Vec<(String, Option<String>)> = examinations
        .iter()
        .map(|one| (one.deployment.clone(), one.server.clone()))
        .collect();
    for (at, one) in examinations.iter_mut().enumerate() {
        one.address = twin(&one.deployment, one.server.as_deref(), &known[..at]);
    }
}

/// The warning for the deployment `name` on `server`, if one of those `before` it is there, too.
pub fn twin(
    name: &str,
    server: Option<&str>,
    before: &[(String, Option<String>)],
) -> Option<Finding> {
    let server = server?;
    let (first, _) = before
        .iter()
        .find(|(_, other)| other.as_deref() == Some(server))?;
    Some(finding(
        Severity::Warning,
        "address",
        format!(
            "it is the server of {first} under another name: a change would come to its tables twice"
        ),
        format!(
            "`lockkeeper deployment remove {}`, or correct its address",
            shell_quoted(name)
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::twin;

    #[test]
    fn the_later_of_two_names_is_told() {
        let before = [
            ("eu".to_owned(), Some("a db1 3306".to_owned())),
            ("us".to_owned(), None),
        ];
        let found = twin("eu-2", Some("a db1 3306"), &before).expect("told");
        assert!(found.finding.contains("the server of eu"), "{found:?}");
        assert!(twin("ap", Some("a db2 3306"), &before).is_none());
        assert!(twin("sa", None, &before).is_none());
    }
}
