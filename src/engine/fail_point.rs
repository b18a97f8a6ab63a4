//! Places where a test may kill or freeze the driver.
//!
//! `LOCKKEEPER_FAIL_AT=cutover.rename.after=abort` ends the process there as `kill -9` would,
//! `=stop` freezes it as `SIGSTOP` does; a number before the action (`copy.chunk.after=3:abort`) means the
//! third time. Several are separated by commas. Without the variable a place costs one load.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Abort,
    Freeze,
}

struct Armed {
    action: Action,
    passes_left: u64,
}

static ARMED: OnceLock<Option<Mutex<HashMap<String, Armed>>>> = OnceLock::new();

/// Says that the driver is at `step`; returns unless a test armed it.
///
/// Names are `module.statement.before` and, where that is another place to die in, `module.statement.after`, around statements that change
/// a deployment.
pub fn at(step: &str) {
    let armed = ARMED.get_or_init(|| {
        let text = std::env::var("LOCKKEEPER_FAIL_AT").ok()?;
        let steps = parse(&text);
        (!steps.is_empty()).then(|| Mutex::new(steps))
    });
    let Some(armed) = armed else { return };
    let action = {
        let Ok(mut steps) = armed.lock() else { return };
        let Some(found) = steps.get_mut(step) else {
            return;
        };
        found.passes_left = found.passes_left.saturating_sub(1);
        if found.passes_left > 0 {
            return;
        }
        let action = found.action;
        steps.remove(step);
        action
    };
    match action {
        // Nothing is flushed and no destructor runs: what SIGKILL does.
        Action::Abort => std::process::abort(),
        Action::Freeze => {
            let own = rustix::process::getpid();
            if let Err(error) = rustix::process::kill_process(own, rustix::process::Signal::STOP) {
                tracing::warn!(step, %error, "this process could not be frozen");
            }
            // The signal stops the whole process, though not at once: the thread must not get
            // past the step meanwhile.
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

fn parse(text: &str) -> HashMap<String, Armed> {
    let mut steps = HashMap::new();
    for part in text.split(',') {
        let Some((step, action)) = part.trim().split_once('=') else {
            tracing::warn!(part, "LOCKKEEPER_FAIL_AT wants step=abort or step=stop");
            continue;
        };
        let (passes_left, action) = match action.split_once(':') {
            Some((count, action)) => (count.parse().unwrap_or(1), action),
            None => (1, action),
        };
        let action = match action {
            "abort" => Action::Abort,
            "stop" => Action::Freeze,
            other => {
                tracing::warn!(other, "LOCKKEEPER_FAIL_AT knows abort and stop");
                continue;
            }
        };
        steps.insert(
            step.to_owned(),
            Armed {
                action,
                passes_left,
            },
        );
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_with_their_counts() {
        let steps = parse("a.before=abort, b=3:stop,nonsense,c=fly");
        assert_eq!(steps.len(), 2);
        assert_eq!(steps["a.before"].action, Action::Abort);
        assert_eq!(
            (steps["b"].action, steps["b"].passes_left),
            (Action::Freeze, 3)
        );
    }
}
