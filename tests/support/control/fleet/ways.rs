//! Whole ways, from one state to another.

use serde_json::json;

use super::{Apply, Fleet};
use crate::support::control::{Answer, Claim};

impl Fleet {
    pub async fn age(&self, operation: u64, seconds: i64) {
        self.call("operation_age", arguments![operation, seconds])
            .await;
    }

    /// Claims a copy on the operation's own deployment.
    pub async fn run(&self, operation: u64) -> Claim {
        let deployment = self.column(operation, "deployment").await;
        let claim = self.claim_copy_on(&deployment).await;
        let claim = claim.unwrap_or_else(|| panic!("operation {operation} has an open copy gate"));
        assert_eq!(claim.operation, operation);
        claim
    }

    /// Copies and arrives where that parks.
    pub async fn park(&self, operation: u64) {
        let claim = self.run(operation).await;
        assert_eq!(self.arrive(&claim).await, "parked");
    }

    /// Submits under `barrier` or `parallel`, and parks all operations.
    pub async fn parked(&self, policy: &str) -> Apply {
        let apply = self.submit(json!({"cutover_policy": policy})).await;
        for operation in &apply.operations {
            self.park(*operation).await;
        }
        apply
    }

    /// Copies and arrives where the cutover is deferred.
    pub async fn hold(&self, operation: u64) -> Claim {
        let claim = self.run(operation).await;
        assert_eq!(self.arrive(&claim).await, "hold");
        claim
    }

    /// From `pending`, or parked, to a swap under way, with an open gate and nothing deferred.
    pub async fn cut_over(&self, operation: u64) -> Claim {
        let deployment = self.column(operation, "deployment").await;
        if self.state(operation).await == "pending" {
            let claim = self.run(operation).await;
            match self.arrive(&claim).await.as_str() {
                "cut_over" => return claim,
                "parked" => {}
                other => panic!("operation {operation} arrived: {other}"),
            }
        }
        let claim = self.claim_cutover_on(&deployment).await;
        claim.unwrap_or_else(|| panic!("operation {operation} has an open cutover gate"))
    }

    /// From `stopped` with a start pending, or from a due retry, to a swap under way.
    pub async fn cut_over_again(&self, operation: u64) -> Claim {
        let claim = self.run(operation).await;
        if self.arrive(&claim).await == "cut_over" {
            return claim;
        }
        self.cut_over(operation).await
    }

    /// Ends an apply, whatever it is doing: the tests that follow in this schema are not to meet it.
    pub async fn retire(&self, apply: &Apply) {
        let finished = self.try_cancel(apply).await;
        if let Err(refusal) = &finished {
            assert_eq!(refusal.number, 50501, "{refusal:?}");
        }
        for operation in &apply.operations {
            self.age(*operation, 1_000_000).await;
        }
        loop {
            let claim = match self.claim_copy("retiring").await {
                Some(claim) => claim,
                None => match self.claim_cutover("retiring").await {
                    Some(claim) => claim,
                    None => break,
                },
            };
            assert_eq!(claim.apply, apply.id, "no other apply is left");
            match claim.state.as_str() {
                "cancelling" => self.report("operation_cancelled", &claim).await,
                "cutting_over" => {
                    let state = self.swapped(&claim).await;
                    self.age(claim.operation, 1_000_000).await;
                    state
                }
                "revert_window" if self.directive(&claim).await == "revert" => {
                    self.report("operation_begin_revert", &claim).await;
                    self.report("operation_reverted", &claim).await
                }
                "revert_window" => self.report("operation_complete", &claim).await,
                "reverting" => self.report("operation_reverted", &claim).await,
                other => panic!("{other} after a cancel"),
            };
        }
        let states = self.states(apply).await;
        assert_ne!(
            self.apply_column(apply, "finished_at").await,
            "NULL",
            "{states:?}"
        );
    }

    /// Brings an operation that has not started, and whose gates are open, to a state: a window has to be there for the states
    /// of one, and a deferral for a hold. Answers the claim that it got there by, also where the lease is over.
    pub async fn reach(&self, operation: u64, state: &str) -> Claim {
        let apply = self.apply_of(operation).await;
        let claim = match state {
            "cutting_over" | "revert_window" | "completed" | "reverting" | "reverted" => {
                self.cut_over(operation).await
            }
            _ => self.run(operation).await,
        };
        match state {
            "waiting_for_cutover" => drop(self.arrive(&claim).await),
            "revert_window" | "completed" => drop(self.swapped(&claim).await),
            "reverting" => {
                self.swapped(&claim).await;
                self.begin_revert(&apply, &claim).await;
            }
            "reverted" => {
                self.swapped(&claim).await;
                self.go_back(&apply, &claim).await;
            }
            "failed_retryable" => drop(self.fail_for_now(&claim).await),
            "failed" => drop(self.fail_for_good(&claim).await),
            "stopped" => {
                self.stop(&apply).await;
                self.report("operation_stopped", &claim).await;
            }
            "cancelling" => drop(self.cancel(&apply).await),
            "cancelled" => {
                self.cancel(&apply).await;
                self.report("operation_cancelled", &claim).await;
            }
            _ => {}
        }
        assert_eq!(self.state(operation).await, state);
        claim
    }

    /// From an open window: asked for, and begun.
    pub async fn begin_revert(&self, apply: &Apply, window: &Claim) -> Answer {
        let revert = self.revert(apply).await;
        self.report("operation_begin_revert", window).await;
        revert
    }

    /// From an open window: asked for, and done.
    pub async fn go_back(&self, apply: &Apply, window: &Claim) -> Answer {
        let revert = self.begin_revert(apply, window).await;
        self.report("operation_reverted", window).await;
        revert
    }

    /// A lone apply that has ended so.
    pub async fn settled(&self, end: &str) -> Apply {
        let window = u64::from(end == "reverted") * 600;
        let options = json!({"deployments": ["d1"], "revert_window_seconds": window});
        let apply = self.submit(options).await;
        let [o1] = apply.all();
        match end {
            // It never starts.
            "cancelled" => drop(self.cancel(&apply).await),
            _ => drop(self.reach(o1, end).await),
        }
        assert_eq!(self.state(o1).await, end);
        apply
    }

    /// From `pending`, or parked, to `completed`, or to `revert_window` where there is one.
    pub async fn swap(&self, operation: u64) -> Claim {
        let claim = self.cut_over(operation).await;
        self.swapped(&claim).await;
        claim
    }

    /// Lets a running, parked or pending operation fail for good.
    pub async fn fail_operation(&self, operation: u64) {
        let claim = self.run(operation).await;
        assert_eq!(self.fail_for_good(&claim).await, "failed");
    }
}
