//! `wait`: for scripts, until an apply is over, or nothing of it moves until somebody acts.

use std::time::Duration;

use super::connect::{PATIENCE, Session, no_apply};
use super::pace::LONGEST_SECONDS;
use super::{CliError, Global, output, status};
use crate::progress::Stand;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The apply: its id or its name
    apply: String,
    /// Wait no longer than this; the apply goes on
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=LONGEST_SECONDS))]
    timeout: Option<u32>,
}

const LOOK: Duration = Duration::from_secs(1);

/// Exit code 0 is "every deployment has the change".
pub(super) async fn run(global: &Global, args: Args) -> Result<(), CliError> {
    let mut session = Session::open(global).await?;
    let apply = session.existing_apply(&args.apply).await?;
    let mut waiting = Waiting {
        global,
        apply,
        session: Some(session),
        told: Vec::new(),
        is_silent: false,
    };
    let stand = match args.timeout {
        None => waiting.until_it_rests().await?,
        Some(seconds) => {
            let limit = Duration::from_secs(seconds.into());
            let waited = tokio::time::timeout(limit, waiting.until_it_rests()).await;
            waited.map_err(|_| {
                CliError::failed(format!(
                    "apply {apply} is not over after {seconds} s, and goes on; see `lockkeeper why {apply}`"
                ))
            })??
        }
    };
    if global.json {
        output::json(&status::object(waiting.session().await?, apply).await?);
    }
    let state = stand.state;
    if !stand.is_over {
        return Err(CliError::failed(format!(
            "apply {apply} is {state}: nothing of it moves until somebody acts; `lockkeeper why {apply}` says what is waited for"
        )));
    }
    if state != "completed" {
        let because = stand
            .error
            .map_or_else(String::new, |error| format!(": {error}"));
        return Err(CliError::failed(format!(
            "apply {apply} is {state}{because}; see `lockkeeper why {apply}`"
        )));
    }
    if !global.json {
        output::line(&format!("Apply {apply} is completed."));
    }
    Ok(())
}

struct Waiting<'a> {
    global: &'a Global,
    apply: u64,
    session: Option<Session>,
    /// The states of its deployments.
    told: Vec<String>,
    is_silent: bool,
}

impl Waiting<'_> {
    async fn session(&mut self) -> Result<&mut Session, CliError> {
        match &mut self.session {
            Some(session) => Ok(session),
            none => Ok(none.insert(Session::open(self.global).await?)),
        }
    }

    async fn until_it_rests(&mut self) -> Result<Stand, CliError> {
        loop {
            let looked = tokio::time::timeout(PATIENCE, self.look()).await;
            let looked = match looked {
                Ok(looked) => looked,
                Err(_) => Err(CliError::silent(&self.global.settings()?, PATIENCE)),
            };
            match looked {
                // Purged while the server was away, say.
                Ok(None) => return Err(no_apply(self.apply)),
                Ok(Some(stand)) if stand.is_over || stand.moving == 0 => return Ok(stand),
                Ok(Some(_)) => self.is_silent = false,
                Err(error) if error.is_for_good() => return Err(error),
                // A failover is over soon; who does not want to wait for it has said so.
                Err(error) => {
                    self.session = None;
                    if !std::mem::replace(&mut self.is_silent, true) {
                        output::fold_beside(&format!("not up to date: {error}; it is waited for"));
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Tells of each deployment that has another state than before. None where there is no such apply any more.
    async fn look(&mut self) -> Result<Option<Stand>, CliError> {
        let apply = self.apply;
        let session = self.session().await?;
        let operations = session.operations(apply).await?;
        let stand = session.stand(apply).await?;
        self.told.resize(operations.len(), String::new());
        for (operation, told) in operations.iter().zip(&mut self.told) {
            if operation.state != *told {
                let mut line = format!("{}: {}", operation.deployment, operation.state);
                for sentence in [&operation.error, &operation.waiting].into_iter().flatten() {
                    line.push_str(&format!("  {sentence}"));
                }
                output::fold_beside(&line);
                told.clone_from(&operation.state);
            }
        }
        Ok(stand)
    }
}
