//! What a submit would do on each deployment, shown before it is asked for.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::access::AccessFlags;
use super::connect::Session;
use super::rest::{self, Rest};
use super::{CliError, Global, ask, output};
use crate::config::Access;
use crate::preflight::{self, Change, Drift, Examination, Place};
use crate::text::folded;

/// The deployments in their order; `only` names some of them.
pub(super) async fn places(session: &mut Session, only: &[String]) -> Result<Vec<Place>, CliError> {
    let table = session
        .read(
            "SELECT d.deployment, d.host, d.port
               FROM deployment_status AS d
              ORDER BY d.position, d.deployment"
                .to_owned(),
        )
        .await?;
    let mut places = Vec::new();
    for row in 0..table.rows.len() {
        places.push(Place {
            deployment: table.text(row, "deployment"),
            host: table.text(row, "host"),
            port: table.whole(row, "port")?,
        });
    }
    if places.is_empty() {
        return Err(CliError::failed(
            "no deployment is registered; `lockkeeper deployment add NAME HOST:PORT` registers one",
        ));
    }
    if let Some(name) = only
        .iter()
        .find(|name| !places.iter().any(|place| place.deployment == **name))
    {
        return Err(CliError::failed(format!(
            "there is no deployment {name}; `lockkeeper deployment list` shows them"
        )));
    }
    places.retain(|place| only.is_empty() || only.contains(&place.deployment));
    Ok(places)
}

pub(super) fn access(
    global: &Global,
    session: &Session,
    flags: &AccessFlags,
) -> Result<Access, CliError> {
    let settings = global.load(flags.layer())?;
    Access::new(&settings, &session.settings().credentials).map_err(CliError::usage)
}

/// Looks at all deployments at once and says what it saw, unless it is to say it nowhere: then the error has it.
///
/// # Errors
///
/// What stands in the way of the change, on any of them: nothing may be submitted then. A deployment that can't be reached
/// from here is no such thing, unless none can: the drivers may reach it.
pub(super) async fn show(
    session: &mut Session,
    places: &[Place],
    access: &Access,
    change: &Change,
    accepted: &[String],
    to: Option<output::To>,
) -> Result<Vec<Examination>, CliError> {
    let examinations = look(places, access, change).await?;
    let drifts = preflight::drift(&examinations, accepted);
    if let Some(to) = to {
        to.write(&text(&examinations, to.width()));
        to.write(&drift_text(&drifts));
    }
    if examinations.iter().all(|one| one.unreachable.is_some()) {
        let message = "nothing was submitted: no deployment could be looked at from here; mend that, or submit without a look, \
                       if drivers reach them: --no-preflight";
        return Err(CliError::failed(message).with("deployments", json!(examinations)));
    }
    let is_refused = examinations.iter().any(|one| one.refusal.is_some());
    if !is_refused && drifts.is_empty() {
        return Ok(examinations);
    }
    let done = rest::of_same_change(session, change);
    let done = ask::unless_interrupted(done, "nothing was submitted").await?;
    let message = next_step(&examinations, &drifts, done.as_ref());
    Err(CliError::failed(message)
        .with("deployments", json!(examinations))
        .with("drift", json!(drifts)))
}

/// `done`: the same change, of which some deployments have been left without.
fn next_step(examinations: &[Examination], drifts: &[Drift], done: Option<&Rest>) -> String {
    let names = |which: &dyn Fn(&Examination) -> bool| -> Vec<&str> {
        let those = examinations.iter().filter(|one| which(one));
        those.map(|one| one.deployment.as_str()).collect()
    };
    let refusing = names(&|one| one.refusal.is_some());
    let drifted = names(&|one| {
        drifts
            .iter()
            .any(|drift| drift.deployment == one.deployment)
    });
    let why = if refusing.is_empty() {
        "the deployments' tables differ".to_owned()
    } else {
        "see what each deployment refuses".to_owned()
    };
    // Where an apply has ended half-way, those that have the change stand in the way, and are to be left out.
    if let Some(done) = done {
        let lacking = names(&|one| done.deployments.contains(&one.deployment));
        if !lacking.is_empty() && lacking.len() < examinations.len() {
            return format!(
                "nothing was submitted: {why}; apply {} has made this change on {} of {} already, for the rest: {}",
                done.apply_id,
                done.completed,
                done.operations,
                rest::flags("--deployment", &lacking)
            );
        }
    }
    let next = match (refusing.is_empty(), names(&|one| one.refusal.is_none())) {
        (true, _) => format!(
            "mend that, accept it by name: {}, or name those that shall have the change: --deployment NAME",
            rest::flags("--accept-drift", &drifted)
        ),
        (false, others) if others.is_empty() => {
            "mend that; --no-preflight submits without looking".to_owned()
        }
        (false, others) => format!(
            "mend that, or submit for the others: {}",
            rest::flags("--deployment", &others)
        ),
    };
    format!("nothing was submitted: {why}; {next}")
}

/// Whom the look has left out, and why.
pub(super) fn not_looked_at(examinations: &[Examination]) -> Value {
    let why = |one: &Examination| {
        let why = one.unreachable.as_ref()?;
        Some(json!({"deployment": one.deployment, "why": why}))
    };
    examinations.iter().filter_map(why).collect()
}

/// Where the copy may fill the disk.
pub(super) fn without_room(examinations: &[Examination]) -> Value {
    let what = |one: &Examination| {
        let room = one.room.as_ref()?;
        Some(json!({"deployment": one.deployment, "finding": room.finding, "remedy": room.remedy}))
    };
    examinations.iter().filter_map(what).collect()
}

/// What a look has made is removed in this time, or by the next look.
const REMOVAL: Duration = Duration::from_secs(10);

fn not_removed() -> CliError {
    CliError::interrupted(format!(
        "nothing was submitted; tables whose names begin with _lk_{}_ may be left, which the next look at that schema removes",
        preflight::INSTALLATION
    ))
}

/// Looks at all deployments at once.
pub(super) async fn look(
    places: &[Place],
    access: &Access,
    change: &Change,
) -> Result<Vec<Examination>, CliError> {
    // What is made for a look is removed before Ctrl-C ends it.
    let looking = join_all(
        places
            .iter()
            .map(|place| preflight::examine(place, access, change)),
    );
    tokio::pin!(looking);
    tokio::select! {
        mut examinations = &mut looking => {
            preflight::note_twins(&mut examinations);
            Ok(examinations)
        }
        _ = tokio::signal::ctrl_c() => {
            output::note("lockkeeper: removing what the look has made; nothing is submitted");
            // A server that hangs would have it wait for ever, and nothing but this listens for Ctrl-C any more.
            tokio::select! {
                _ = looking => Err(CliError::interrupted("nothing was submitted")),
                () = tokio::time::sleep(REMOVAL) => Err(not_removed()),
                _ = tokio::signal::ctrl_c() => Err(not_removed()),
            }
        }
    }
}

pub(super) fn text(examinations: &[Examination], width: Option<usize>) -> String {
    let mut lines = Vec::new();
    for one in examinations {
        lines.push(one.deployment.clone());
        let mut add = |first: &str, rest: &str, text: &str| {
            lines.extend(folded(text, width, first, rest));
        };
        if let Some(why) = &one.unreachable {
            add("  ", "    ", &format!("not looked at: {why}"));
        }
        if let Some(why) = &one.refusal {
            add("  ", "    ", &format!("refused: {why}"));
        }
        for planned in &one.planned {
            let what = format!(
                "{}: about {} rows, {}",
                planned.way_in_words,
                planned.rows,
                bytes(planned.bytes)
            );
            add("  ", "    ", &what);
            let words: Vec<&str> = planned.statement.split_whitespace().collect();
            add("    ", "      ", &words.join(" "));
        }
        for found in [&one.room, &one.address].into_iter().flatten() {
            let what = format!(
                "warning: {}: {}; {}",
                found.subject, found.finding, found.remedy
            );
            add("  ", "    ", &what);
        }
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

/// What to know before the swap, each once, with the deployments that it is about where it isn't all.
pub(super) fn notes(
    examinations: &[Examination],
    has_revert_window: bool,
    width: Option<usize>,
) -> String {
    let of = |one: &Examination| {
        let for_a_revert = has_revert_window.then(|| one.revert_warnings.clone());
        let mut all = one.warnings.clone();
        all.extend(for_a_revert.unwrap_or_default());
        all
    };
    let looked_at = examinations.iter().filter(|one| !one.planned.is_empty());
    let mut notes: Vec<(String, Vec<&str>)> = Vec::new();
    for one in looked_at.clone() {
        for note in of(one) {
            match notes.iter_mut().find(|(known, _)| *known == note) {
                Some((_, names)) => names.push(&one.deployment),
                None => notes.push((note, vec![&one.deployment])),
            }
        }
    }
    let all = looked_at.count();
    let lines = notes.into_iter().flat_map(|(note, names)| {
        let on = match names.len() == all {
            true => String::new(),
            false => format!(" (on {})", names.join(", ")),
        };
        folded(&format!("note: {note}{on}"), width, "", "  ")
    });
    lines.map(|line| line + "\n").collect()
}

fn drift_text(drifts: &[Drift]) -> String {
    let mut text = String::new();
    for drift in drifts {
        text.push_str(&format!(
            "Table {} of {} is not like that of {}:\n--- {}\n+++ {}\n{}\n",
            drift.table,
            drift.deployment,
            drift.like,
            drift.like,
            drift.deployment,
            drift.difference.join("\n")
        ));
    }
    text
}

fn bytes(bytes: u64) -> String {
    match bytes as f64 {
        b if b >= 1e9 => format!("{:.1} GB", b / 1e9),
        b if b >= 1e6 => format!("{:.0} MB", b / 1e6),
        b => format!("{:.0} kB", (b / 1e3).ceil()),
    }
}

/// What is agreed to by a yes.
pub(super) fn question(
    schema: &str,
    statements: &[String],
    places: &[Place],
    options: &str,
    width: Option<usize>,
) -> String {
    let mut lines = vec![format!("On schema {schema} of each deployment:")];
    for statement in statements {
        for line in format!("{statement};").lines() {
            lines.extend(folded(line, width, "  ", "    "));
        }
    }
    let names: Vec<&str> = places
        .iter()
        .map(|place| place.deployment.as_str())
        .collect();
    let order = format!("in this order: {}", names.join(", "));
    lines.extend(folded(&order, width, "", "  "));
    if !options.is_empty() {
        lines.extend(folded(&format!("with {options}"), width, "", "  "));
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
