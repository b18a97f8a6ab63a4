//! Gates and moves as SPEC.md tells them, in as few words as it needs; written from that text, not from the SQL.

mod moves;
mod requests;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Pending,
    Running,
    WaitingForCutover,
    CuttingOver,
    RevertWindow,
    Reverting,
    FailedRetryable,
    Stopped,
    Cancelling,
    Completed,
    Failed,
    Cancelled,
    Reverted,
}

use State::*;

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Pending => "pending",
            Running => "running",
            WaitingForCutover => "waiting_for_cutover",
            CuttingOver => "cutting_over",
            RevertWindow => "revert_window",
            Reverting => "reverting",
            FailedRetryable => "failed_retryable",
            Stopped => "stopped",
            Cancelling => "cancelling",
            Completed => "completed",
            Failed => "failed",
            Cancelled => "cancelled",
            Reverted => "reverted",
        }
    }

    pub fn settled(self) -> bool {
        matches!(self, Completed | Failed | Cancelled | Reverted)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Rolling,
    Barrier,
    Parallel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    Halt,
    Continue,
    Pause,
}

#[derive(Clone, Debug)]
pub struct Policies {
    pub operations: usize,
    pub policy: Policy,
    pub all_parked: bool,
    pub on_failure: OnFailure,
    pub max_copies: Option<usize>,
    pub defer: bool,
    pub window_seconds: i64,
    pub scope_apply: bool,
}

/// Why a gate is shut; which sibling is to be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Request,
    Order(usize),
    AllParked(usize),
    MaxCopies(usize),
    Revert(usize),
    NotDue,
    Defer,
}

impl Cause {
    pub fn blocker(self) -> Option<usize> {
        match self {
            Cause::Order(at) | Cause::AllParked(at) | Cause::MaxCopies(at) | Cause::Revert(at) => {
                Some(at)
            }
            Cause::Request | Cause::NotDue | Cause::Defer => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoppedFrom {
    Pending,
    Copying,
    Parked,
}

#[derive(Clone, Debug)]
pub struct Operation {
    pub state: State,
    pub started: bool,
    /// Some: leased; how old the heartbeat is, in seconds.
    pub lease_age: Option<i64>,
    /// At the barrier under a lease (or after it, left by its driver), not parked.
    pub held: bool,
    pub stopped_from: Option<StoppedFrom>,
    pub start_asked: bool,
    pub cutover_asked: bool,
    pub revert_asked: bool,
    pub skip_asked: bool,
    pub attempt: u32,
    pub due_in: i64,
    pub window_left: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Command {
    Stop,
    Start,
    Cancel,
    Cutover,
    CutoverAll,
    Release,
    Revert,
    RevertLast,
    SkipRevert,
}

impl Command {
    pub fn name(self) -> &'static str {
        match self {
            Command::Stop => "stop",
            Command::Start => "start",
            Command::Cancel => "cancel",
            Command::Cutover | Command::CutoverAll => "cutover",
            Command::Release => "release",
            Command::Revert | Command::RevertLast => "revert",
            Command::SkipRevert => "skip_revert",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    Copy,
    Cutover,
}

pub struct Refused;

#[derive(Clone, Debug)]
pub struct Model {
    pub policies: Policies,
    pub operations: Vec<Operation>,
    pub requests: Vec<(&'static str, &'static str)>,
    stop_latch: bool,
    released: bool,
    opened_for_all: bool,
    /// The one that a pending cutover request is bound to; None: all.
    cutover_bound: Option<usize>,
    /// How often anything has swapped, in all and when a cutover was asked for last.
    swaps: usize,
    swaps_when_asked: usize,
}

const LEASE_SECONDS: i64 = 60;
/// How often a transient failure is retried.
const RETRIES: u32 = 10;

impl Model {
    pub fn submitted(policies: Policies) -> Self {
        let operation = Operation {
            state: Pending,
            started: false,
            lease_age: None,
            held: false,
            stopped_from: None,
            start_asked: false,
            cutover_asked: false,
            revert_asked: false,
            skip_asked: false,
            attempt: 0,
            due_in: 0,
            window_left: 0,
        };
        Self {
            operations: vec![operation; policies.operations],
            policies,
            requests: Vec::new(),
            stop_latch: false,
            released: false,
            opened_for_all: false,
            cutover_bound: None,
            swaps: 0,
            swaps_when_asked: 0,
        }
    }

    pub fn settled(&self) -> bool {
        self.operations.iter().all(|o| o.state.settled())
    }

    fn pending_request(&self, command: &str) -> Option<usize> {
        self.requests
            .iter()
            .position(|(name, status)| *name == command && *status == "pending")
    }

    fn is_pending(&self, command: &str) -> bool {
        self.pending_request(command).is_some()
    }

    fn close(&mut self, command: &str, status: &'static str) {
        if let Some(at) = self.pending_request(command) {
            self.requests[at].1 = status;
            if command == "cutover" && self.cutover_bound.is_none() {
                self.opened_for_all = false;
            }
            for operation in &mut self.operations {
                match command {
                    "start" => operation.start_asked = false,
                    "cutover" => operation.cutover_asked = false,
                    "revert" => operation.revert_asked = false,
                    "skip_revert" => operation.skip_asked = false,
                    _ => {}
                }
            }
        }
    }

    // ---- the gates (section 3)

    /// Only `failed` is exempted, and a revert window where all windows stay open side by side.
    fn exempt(&self, at: usize) -> bool {
        match self.operations[at].state {
            Failed => match self.policies.on_failure {
                OnFailure::Halt => false,
                OnFailure::Continue => true,
                OnFailure::Pause => self.released,
            },
            RevertWindow => self.policies.scope_apply,
            _ => false,
        }
    }

    fn copy_blocker(&self, at: usize) -> Option<usize> {
        (0..at).find(|&earlier| {
            let state = self.operations[earlier].state;
            let lets_through = match self.policies.policy {
                Policy::Rolling => state == Completed,
                Policy::Barrier => {
                    matches!(
                        state,
                        WaitingForCutover | CuttingOver | RevertWindow | Completed
                    )
                }
                Policy::Parallel => !matches!(state, Failed | Cancelled | Reverted),
            };
            !lets_through && !self.exempt(earlier)
        })
    }

    fn cutover_blocker(&self, at: usize) -> Option<usize> {
        (0..at)
            .find(|&earlier| self.operations[earlier].state != Completed && !self.exempt(earlier))
    }

    /// A failure under `pause` can be released; what else ended badly blocks for good.
    fn blocked_for_good(&self, at: usize) -> bool {
        (0..at).any(|earlier| match self.operations[earlier].state {
            Cancelled | Reverted => true,
            Failed => self.policies.on_failure == OnFailure::Halt,
            _ => false,
        })
    }

    fn never_started(&self, at: usize) -> bool {
        let operation = &self.operations[at];
        operation.state == Pending || operation.stopped_from == Some(StoppedFrom::Pending)
    }

    /// Its swap lies before it.
    fn ahead(&self, at: usize) -> bool {
        matches!(
            self.operations[at].state,
            Pending | Running | WaitingForCutover | FailedRetryable | Stopped
        )
    }

    fn copy_is_ahead(&self, at: usize) -> bool {
        matches!(
            self.operations[at].state,
            Pending | Running | FailedRetryable | Stopped
        )
    }

    fn no_slot(&self) -> Option<Cause> {
        let running: Vec<usize> = (0..self.operations.len())
            .filter(|&at| self.operations[at].state == Running)
            .collect();
        match self.policies.max_copies {
            Some(limit) if running.len() >= limit => Some(Cause::MaxCopies(running[0])),
            Some(_) | None => None,
        }
    }

    fn closed_by_request(&self) -> Option<Cause> {
        (self.is_pending("stop") || self.is_pending("cancel")).then_some(Cause::Request)
    }

    fn swap_gate(&self, at: usize) -> Option<Cause> {
        if let Some(cause) = self.closed_by_request() {
            return Some(cause);
        }
        if let Some(first) = self.operations.iter().position(|o| o.revert_asked) {
            return Some(Cause::Revert(first));
        }
        if let Some(blocker) = self.cutover_blocker(at) {
            return Some(Cause::Order(blocker));
        }
        let nobody_swapped = !self.operations.iter().any(|o| {
            matches!(
                o.state,
                CuttingOver | RevertWindow | Reverting | Completed | Reverted
            )
        });
        if self.policies.all_parked && self.operations.len() > 1 && nobody_swapped {
            let copying = (0..self.operations.len()).find(|&other| self.copy_is_ahead(other));
            if let Some(sibling) = copying {
                return Some(Cause::AllParked(sibling));
            }
        }
        if self.policies.defer && !self.opened_for_all && !self.operations[at].cutover_asked {
            return Some(Cause::Defer);
        }
        None
    }

    fn parked(&self, at: usize) -> bool {
        let operation = &self.operations[at];
        operation.state == WaitingForCutover && !operation.held
    }

    fn without_driver(&self, at: usize) -> bool {
        self.operations[at]
            .lease_age
            .map_or(self.operations[at].due_in <= 0, |age| age > LEASE_SECONDS)
    }

    /// What keeps a waiting or parked operation from the claims; None where it's not waiting, or claimable.
    pub fn blocked(&self, at: usize) -> Option<(&'static str, Cause)> {
        let operation = &self.operations[at];
        match operation.state {
            Pending => self
                .closed_by_request()
                .or_else(|| self.copy_blocker(at).map(Cause::Order))
                .or_else(|| self.no_slot())
                .map(|cause| ("copy", cause)),
            FailedRetryable => self
                .closed_by_request()
                .or((operation.due_in > 0).then_some(Cause::NotDue))
                .or_else(|| self.no_slot())
                .map(|cause| ("copy", cause)),
            Stopped if operation.start_asked => self.no_slot().map(|cause| ("copy", cause)),
            WaitingForCutover if self.parked(at) => {
                self.swap_gate(at).map(|cause| ("cutover", cause))
            }
            _ => None,
        }
    }

    pub fn claimable(&self, at: usize) -> Option<Claim> {
        let operation = &self.operations[at];
        match operation.state {
            Pending | FailedRetryable => self.blocked(at).is_none().then_some(Claim::Copy),
            Stopped => (operation.start_asked && self.blocked(at).is_none()).then_some(Claim::Copy),
            WaitingForCutover if self.parked(at) => {
                self.blocked(at).is_none().then_some(Claim::Cutover)
            }
            Running | Cancelling | WaitingForCutover => {
                self.without_driver(at).then_some(Claim::Copy)
            }
            CuttingOver | RevertWindow | Reverting => {
                self.without_driver(at).then_some(Claim::Cutover)
            }
            Completed | Failed | Cancelled | Reverted => None,
        }
    }

    pub fn directive(&self, at: usize) -> &'static str {
        let operation = &self.operations[at];
        let stops = operation.state == Running || operation.held;
        match operation.state {
            Cancelling => "cancel",
            Running | WaitingForCutover if self.is_pending("stop") && stops => "stop",
            WaitingForCutover if operation.held && self.swap_gate(at).is_none() => "cutover",
            RevertWindow if operation.skip_asked => "skip_revert",
            RevertWindow if self.reverts_now(at) => "revert",
            _ => "none",
        }
    }

    /// The last swapped goes back first, one at a time.
    fn reverts_now(&self, at: usize) -> bool {
        let swapping = self
            .operations
            .iter()
            .any(|o| matches!(o.state, CuttingOver | Reverting));
        let last = (0..self.operations.len()).rfind(|&other| {
            self.operations[other].state == RevertWindow && self.operations[other].revert_asked
        });
        last == Some(at) && !swapping
    }

    // ---- section 7

    pub fn apply_state(&self) -> &'static str {
        let states: Vec<State> = self.operations.iter().map(|o| o.state).collect();
        let any = |state: State| states.contains(&state);
        if states.iter().all(|&state| state == Completed) {
            return "completed";
        }
        if self.settled() {
            return match () {
                () if any(Failed) => "failed",
                () if any(Cancelled) => "cancelled",
                () => "reverted",
            };
        }
        if any(Cancelling) {
            return "cancelling";
        }
        if any(Reverting) {
            return "reverting";
        }
        let moving: Vec<State> = (0..states.len())
            .filter(|&at| {
                let operation = &self.operations[at];
                let due_later = self.blocked(at) == Some(("copy", Cause::NotDue))
                    || (matches!(operation.state, Cancelling | RevertWindow | Reverting)
                        && operation.lease_age.is_none()
                        && operation.due_in > 0);
                self.operations[at].lease_age.is_some() || self.claimable(at).is_some() || due_later
            })
            .map(|at| states[at])
            .collect();
        if !moving.is_empty() {
            if any(Failed) || any(Cancelled) || any(Reverted) {
                return "running_degraded";
            }
            if !self.operations.iter().any(|o| o.started) {
                return "pending";
            }
            // A restart is a copy; so is a start beside others that have started.
            let order = [
                Running,
                FailedRetryable,
                WaitingForCutover,
                CuttingOver,
                RevertWindow,
            ];
            let copies = |state: &State| matches!(state, Pending | Stopped);
            let least = order.into_iter().find(|state| {
                moving.contains(state) || (*state == Running && moving.iter().any(copies))
            });
            return least.map_or("?", State::name);
        }
        let at = 0..states.len();
        match () {
            () if at.clone().any(|at| self.held_by_pause(at)) => "paused",
            () if any(Stopped) => "stopped",
            () if self.policies.defer && any(WaitingForCutover) => "waiting_for_cutover",
            () => "halted",
        }
    }
}
