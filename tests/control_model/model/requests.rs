//! Control requests (section 6), and what follows from a move by itself.

use std::collections::BTreeMap;

use super::State::*;
use super::{Cause, Command, Model, OnFailure, Refused, State, StoppedFrom};

impl Model {
    pub fn command(&mut self, command: Command) -> Result<(), Refused> {
        if self.settled() {
            return Err(Refused);
        }
        match command {
            Command::Stop => self.stop(),
            Command::Start => self.start(),
            Command::Cancel => self.cancel(),
            Command::Cutover => self.cutover(false),
            Command::CutoverAll => self.cutover(true),
            Command::Release => self.release(),
            Command::Revert => self.revert(false),
            Command::RevertLast => self.revert(true),
            Command::SkipRevert => self.skip_revert(),
        }?;
        self.settle();
        Ok(())
    }

    pub(super) fn ask(&mut self, command: &'static str) {
        self.requests.push((command, "pending"));
    }

    pub(super) fn stop(&mut self) -> Result<(), Refused> {
        if self.is_pending("stop") {
            return Ok(());
        }
        let something = self.operations.iter().any(|o| {
            matches!(
                o.state,
                Pending | Running | WaitingForCutover | FailedRetryable | CuttingOver
            ) || o.start_asked
        });
        if self.is_pending("cancel") || !something {
            return Err(Refused);
        }
        self.close("start", "moot");
        self.beat_cutover();
        self.ask("stop");
        self.stop_latch = true;
        self.opened_for_all = false;
        for at in 0..self.operations.len() {
            // A driver that copies or holds is told; so is who takes over from one whose lease ran out.
            let operation = &self.operations[at];
            let stoppable = matches!(
                operation.state,
                Pending | Running | WaitingForCutover | FailedRetryable
            );
            if stoppable && operation.lease_age.is_none() {
                self.stop_one(at);
            }
        }
        Ok(())
    }

    pub(super) fn start(&mut self) -> Result<(), Refused> {
        if self.is_pending("start") {
            return Ok(());
        }
        // A swap under way is stopped if it fails: a start takes that back.
        let something = self.operations.iter().any(|o| {
            matches!(o.state, Stopped | FailedRetryable)
                || (self.stop_latch && o.state == CuttingOver)
        });
        if self.is_pending("stop") || self.is_pending("cancel") || !something {
            return Err(Refused);
        }
        self.ask("start");
        self.stop_latch = false;
        for operation in &mut self.operations {
            match operation.stopped_from {
                Some(StoppedFrom::Copying) => operation.start_asked = true,
                Some(StoppedFrom::Pending) => {
                    operation.state = Pending;
                    operation.stopped_from = None;
                }
                Some(StoppedFrom::Parked) => {
                    operation.state = WaitingForCutover;
                    operation.stopped_from = None;
                }
                None => {}
            }
            operation.due_in = operation.due_in.min(0);
        }
        Ok(())
    }

    pub(super) fn cancel(&mut self) -> Result<(), Refused> {
        if self.is_pending("cancel") {
            return Ok(());
        }
        let something = (0..self.operations.len()).any(|at| {
            self.ahead(at) || matches!(self.operations[at].state, CuttingOver | Cancelling)
        });
        if !something {
            return Err(Refused);
        }
        for beaten in ["stop", "start"] {
            self.close(beaten, "moot");
        }
        self.beat_cutover();
        self.ask("cancel");
        for at in 0..self.operations.len() {
            if self.never_started(at) {
                self.end(at, Cancelled);
            } else if self.ahead(at) {
                let operation = &mut self.operations[at];
                operation.state = Cancelling;
                operation.due_in = 0;
                operation.stopped_from = None;
                operation.held = false;
            }
        }
        Ok(())
    }

    /// A swap under way finishes, and its own request is carried out with it.
    fn beat_cutover(&mut self) {
        let bound = self.cutover_bound.map(|at| self.operations[at].state);
        if bound != Some(CuttingOver) {
            self.close("cutover", "moot");
        }
    }

    pub(super) fn cutover(&mut self, all: bool) -> Result<(), Refused> {
        if ["stop", "cancel", "revert"]
            .iter()
            .any(|other| self.is_pending(other))
        {
            return Err(Refused);
        }
        if self.is_pending("cutover") {
            match self.cutover_bound.map(|at| self.operations[at].state) {
                Some(state) if all && self.swap_may_come() => {
                    let under_way = state == CuttingOver;
                    self.close("cutover", if under_way { "done" } else { "moot" });
                }
                _ => return Ok(()),
            }
        }
        if !self.policies.defer {
            return Err(Refused);
        }
        // What let the swap under way begin is the answer, though a stop has beaten it.
        let swapping = self.operations.iter().any(|o| o.state == CuttingOver);
        if swapping && !(all && self.swap_may_come()) {
            return Ok(());
        }
        let turn = (0..self.operations.len()).find(|&at| self.ahead(at));
        let waits = turn.filter(|&at| {
            self.operations[at].state == WaitingForCutover
                && self.swap_gate(at) == Some(Cause::Defer)
        });
        if if all {
            !self.swap_may_come()
        } else {
            waits.is_none()
        } {
            return Err(Refused);
        }
        self.ask("cutover");
        self.swaps_when_asked = self.swaps;
        self.opened_for_all = all;
        self.cutover_bound = if all { None } else { waits };
        if let Some(at) = self.cutover_bound {
            self.operations[at].cutover_asked = true;
        }
        Ok(())
    }

    /// None does behind a sibling that blocks for good.
    fn swap_may_come(&self) -> bool {
        (0..self.operations.len()).any(|at| self.ahead(at) && !self.blocked_for_good(at))
    }

    pub(super) fn held_by_pause(&self, at: usize) -> bool {
        self.policies.on_failure == OnFailure::Pause
            && !self.released
            && self.ahead(at)
            && (0..at).any(|earlier| self.operations[earlier].state == Failed)
    }

    pub(super) fn release(&mut self) -> Result<(), Refused> {
        let held = (0..self.operations.len()).any(|at| self.held_by_pause(at));
        if self.is_pending("stop") || self.is_pending("cancel") || !held {
            return Err(Refused);
        }
        self.requests.push(("release", "done"));
        self.released = true;
        Ok(())
    }

    fn window_is_open(&self, at: usize) -> bool {
        self.operations[at].state == RevertWindow && !self.window_is_over(at)
    }

    pub(super) fn revert(&mut self, last_only: bool) -> Result<(), Refused> {
        if self.is_pending("revert") {
            return Ok(());
        }
        let open: Vec<usize> = (0..self.operations.len())
            .filter(|&at| self.window_is_open(at))
            .collect();
        if self.is_pending("skip_revert") || open.is_empty() {
            return Err(Refused);
        }
        // What swaps just now would have to go back first.
        if last_only && self.operations.iter().any(|o| o.state == CuttingOver) {
            return Err(Refused);
        }
        self.ask("revert");
        let first = if last_only { open.len() - 1 } else { 0 };
        for &at in &open[first..] {
            self.operations[at].revert_asked = true;
        }
        Ok(())
    }

    pub(super) fn skip_revert(&mut self) -> Result<(), Refused> {
        if self.is_pending("skip_revert") {
            return Ok(());
        }
        let open = (0..self.operations.len()).any(|at| self.window_is_open(at));
        if self.is_pending("revert") || !open {
            return Err(Refused);
        }
        self.ask("skip_revert");
        for operation in &mut self.operations {
            operation.skip_asked = operation.state == RevertWindow;
        }
        Ok(())
    }

    /// What follows from a move by itself: the pending that can never start, and requests at their end.
    pub(super) fn settle(&mut self) {
        for at in 0..self.operations.len() {
            if self.operations[at].state == Pending && self.blocked_for_good(at) {
                self.end(at, Cancelled);
            }
        }
        let count = self.operations.len();
        let any = |states: &[State]| self.operations.iter().any(|o| states.contains(&o.state));
        let ahead = (0..count).any(|at| self.ahead(at));
        let mut ended: BTreeMap<&str, &'static str> = BTreeMap::new();
        if !any(&[Pending, Running, WaitingForCutover, FailedRetryable]) {
            ended.insert("stop", "done");
        }
        if !self.operations.iter().any(|o| o.start_asked) {
            ended.insert("start", "done");
        }
        if !ahead && !any(&[CuttingOver, Cancelling]) {
            ended.insert("cancel", "done");
        }
        let bound = self
            .cutover_bound
            .map(|at| (self.operations[at].state, self.blocked_for_good(at)));
        match bound {
            None if !self.swap_may_come() && !any(&[CuttingOver]) => {
                // What had swapped before is not its doing.
                let swapped = self.swaps > self.swaps_when_asked;
                ended.insert("cutover", if swapped { "done" } else { "moot" });
            }
            Some((RevertWindow | Reverting | Completed | Reverted, _)) => {
                ended.insert("cutover", "done");
            }
            Some((Failed | Cancelled | Cancelling | Stopped, _) | (_, true)) => {
                ended.insert("cutover", "moot");
            }
            _ => {}
        }
        if !self.operations.iter().any(|o| o.revert_asked) {
            ended.insert("revert", "done");
        }
        if !self.operations.iter().any(|o| o.skip_asked) {
            ended.insert("skip_revert", "done");
        }
        for (command, status) in ended {
            self.close(command, status);
        }
    }
}
