//! Claims, and the calls of a driver.

use super::State::*;
use super::{Claim, Model, Policy, RETRIES, Refused, State, StoppedFrom};

impl Model {
    pub fn claim(&mut self, at: usize, claim: Claim) {
        let operation = &mut self.operations[at];
        operation.state = match (operation.state, claim) {
            (Pending | FailedRetryable | Stopped, _) => Running,
            (WaitingForCutover, Claim::Cutover) => CuttingOver,
            (other, _) => other,
        };
        operation.started = true;
        operation.stopped_from = None;
        operation.start_asked = false;
        operation.lease_age = Some(0);
        operation.due_in = 0;
        self.settle();
    }

    pub fn heartbeat(&mut self, at: usize) -> &'static str {
        self.operations[at].lease_age = Some(0);
        self.operations[at].due_in = 0;
        self.directive(at)
    }

    pub fn arrive(&mut self, at: usize) -> Result<&'static str, Refused> {
        let parks = self.operations.len() > 1 && self.policies.policy != Policy::Rolling;
        let decision = match self.operations[at].state {
            Cancelling => return Ok("cancel"),
            CuttingOver => return Ok("cut_over"),
            Running | WaitingForCutover if self.directive(at) == "stop" => "stop",
            WaitingForCutover => return Ok("hold"),
            Running if self.policies.defer => "hold",
            // A lone or rolling one goes straight on, but for a gate that has shut behind it.
            Running if parks || self.swap_gate(at).is_some() => "parked",
            Running => "cut_over",
            _ => return Err(Refused),
        };
        match decision {
            "stop" => self.stop_one(at),
            "hold" => {
                self.operations[at].state = WaitingForCutover;
                self.operations[at].held = true;
            }
            "parked" => {
                self.operations[at].state = WaitingForCutover;
                self.operations[at].lease_age = None;
            }
            _ => self.operations[at].state = CuttingOver,
        }
        self.settle();
        Ok(decision)
    }

    pub fn begin_cutover(&mut self, at: usize) -> Result<(), Refused> {
        match self.operations[at].state {
            CuttingOver => Ok(()),
            _ if self.directive(at) == "cutover" => {
                self.operations[at].state = CuttingOver;
                self.operations[at].held = false;
                self.settle();
                Ok(())
            }
            _ => Err(Refused),
        }
    }

    pub fn swapped(&mut self, at: usize) -> Result<(), Refused> {
        match self.operations[at].state {
            RevertWindow => return Ok(()),
            CuttingOver => {}
            _ => return Err(Refused),
        }
        self.swaps += 1;
        let window = self.policies.window_seconds;
        if window == 0 {
            self.end(at, Completed);
        } else {
            self.operations[at].state = RevertWindow;
            self.operations[at].window_left = window;
            // A revert that was asked for meanwhile means it too, as the last swapped.
            self.operations[at].revert_asked = self.is_pending("revert");
            if self.policies.scope_apply {
                for operation in &mut self.operations {
                    operation.window_left = window;
                }
            }
        }
        self.settle();
        Ok(())
    }

    /// Run out: nobody has to wait for it any more, nor can ask for anything of it.
    pub(super) fn window_is_over(&self, at: usize) -> bool {
        let operation = &self.operations[at];
        // Side by side, the windows stay open while another swap may come.
        let another = (0..self.operations.len()).any(|other| {
            (self.ahead(other) || self.operations[other].state == CuttingOver)
                && !self.blocked_for_good(other)
        });
        // And they end with the last swap's.
        let last = self.operations.iter().rfind(|o| o.state == RevertWindow);
        let window_left = match (self.policies.scope_apply, last) {
            (true, Some(last)) => last.window_left,
            _ => operation.window_left,
        };
        operation.state == RevertWindow
            && window_left <= 0
            && !operation.revert_asked
            && !(self.policies.scope_apply && another)
    }

    pub fn complete(&mut self, at: usize) -> Result<(), Refused> {
        let operation = &self.operations[at];
        let skipped = operation.state == RevertWindow && operation.skip_asked;
        if skipped || self.window_is_over(at) {
            let ended = operation.window_left;
            if self.policies.scope_apply {
                for other in &mut self.operations {
                    other.window_left = other.window_left.min(ended);
                }
            }
            self.end(at, Completed);
            self.settle();
            Ok(())
        } else {
            Err(Refused)
        }
    }

    pub fn begin_revert(&mut self, at: usize) -> Result<(), Refused> {
        match self.operations[at].state {
            Reverting => Ok(()),
            _ if self.directive(at) == "revert" => {
                self.operations[at].state = Reverting;
                self.settle();
                Ok(())
            }
            _ => Err(Refused),
        }
    }

    pub fn reverted(&mut self, at: usize) -> Result<(), Refused> {
        self.finish(at, Reverting, Reverted)
    }

    pub fn cancelled(&mut self, at: usize) -> Result<(), Refused> {
        self.finish(at, Cancelling, Cancelled)
    }

    pub(super) fn finish(&mut self, at: usize, from: State, to: State) -> Result<(), Refused> {
        if self.operations[at].state != from {
            return Err(Refused);
        }
        self.end(at, to);
        self.settle();
        Ok(())
    }

    pub fn stopped(&mut self, at: usize) -> Result<(), Refused> {
        if self.directive(at) != "stop" {
            return Err(Refused);
        }
        self.stop_one(at);
        self.settle();
        Ok(())
    }

    pub fn fail(&mut self, at: usize, transient: bool) {
        self.operations[at].attempt += 1;
        let attempt = self.operations[at].attempt;
        match (self.operations[at].state, transient) {
            (Cancelling | RevertWindow | Reverting, true) => {
                self.operations[at].lease_age = None;
                self.operations[at].due_in = wait(attempt);
            }
            (state @ (RevertWindow | Reverting), false) => {
                if self.operations[at].revert_asked {
                    self.close("revert", "refused");
                }
                let change_stays = state == RevertWindow;
                self.end(at, if change_stays { Completed } else { Failed });
            }
            (_, false) => self.end(at, Failed),
            (_, true) if self.is_pending("cancel") => {
                self.leave(at);
                self.operations[at].state = Cancelling;
                self.operations[at].due_in = 0;
            }
            (_, true) if attempt > RETRIES => self.end(at, Failed),
            (_, true) if self.stop_latch => self.stop_one(at),
            (_, true) => {
                self.leave(at);
                self.operations[at].state = FailedRetryable;
                self.operations[at].due_in = wait(attempt);
            }
        }
        self.settle();
    }

    pub fn release_lease(&mut self, at: usize) {
        self.operations[at].lease_age = None;
        self.settle();
    }

    pub fn age(&mut self, at: usize, seconds: i64) {
        let operation = &mut self.operations[at];
        if let Some(age) = &mut operation.lease_age {
            *age += seconds;
        }
        operation.due_in -= seconds;
        operation.window_left -= seconds;
    }

    pub(super) fn leave(&mut self, at: usize) {
        self.operations[at].lease_age = None;
        self.operations[at].held = false;
    }

    pub(super) fn end(&mut self, at: usize, state: State) {
        self.leave(at);
        let operation = &mut self.operations[at];
        operation.state = state;
        operation.stopped_from = None;
        operation.start_asked = false;
        operation.revert_asked = false;
        operation.skip_asked = false;
    }

    pub(super) fn stop_one(&mut self, at: usize) {
        let from = match self.operations[at].state {
            Pending => StoppedFrom::Pending,
            WaitingForCutover if self.parked(at) => StoppedFrom::Parked,
            _ => StoppedFrom::Copying,
        };
        self.leave(at);
        self.operations[at].state = Stopped;
        self.operations[at].stopped_from = Some(from);
    }
}

/// Two retries at once, then growing waits up to two minutes.
fn wait<N: Into<i64>>(attempt: N) -> i64 {
    match attempt.into() {
        ..=2 => 0,
        attempt => (5 << (attempt - 3).min(10)).min(120),
    }
}
