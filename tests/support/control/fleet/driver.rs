//! A driver's calls, accepted.

use serde_json::{Value, json};

use super::Fleet;
use crate::support::control::{Beat, Claim, Outcome, Session};

impl Fleet {
    pub async fn claim_copy(&self, driver: &str) -> Option<Claim> {
        self.claim("operation_claim_copy", driver, Value::Null)
            .await
    }

    pub async fn claim_cutover(&self, driver: &str) -> Option<Claim> {
        self.claim("operation_claim_cutover", driver, Value::Null)
            .await
    }

    /// The copy claim of a driver that is limited to one deployment.
    pub async fn claim_copy_on(&self, deployment: &str) -> Option<Claim> {
        self.claim(
            "operation_claim_copy",
            "local",
            json!({"deployments": [deployment]}),
        )
        .await
    }

    pub async fn claim_cutover_on(&self, deployment: &str) -> Option<Claim> {
        self.claim(
            "operation_claim_cutover",
            "local",
            json!({"deployments": [deployment]}),
        )
        .await
    }

    pub async fn claim(&self, procedure: &str, driver: &str, scope: Value) -> Option<Claim> {
        let claim = self.sql().await.claim(procedure, driver, scope).await;
        let claim = claim.expect("a claim is never refused");
        self.check().await;
        claim
    }

    /// Both claims at once find nothing.
    #[track_caller]
    pub fn nothing_is_claimable(&self) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let copy = self.claim_copy("nobody").await;
            let cutover = self.claim_cutover("nobody").await;
            assert!(
                copy.is_none() && cutover.is_none(),
                "at {caller}: {copy:?} {cutover:?}"
            );
        }
    }

    pub async fn beat(&self, claim: &Claim) -> Beat {
        self.tell(claim, Value::Null, Value::Null).await
    }

    /// A heartbeat with progress and checkpoint.
    pub async fn tell(&self, claim: &Claim, progress: Value, checkpoint: Value) -> Beat {
        self.done(
            async |session| session.heartbeat(claim, progress, checkpoint).await,
            "heartbeat",
        )
        .await
    }

    pub async fn directive(&self, claim: &Claim) -> String {
        self.beat(claim).await.directive
    }

    pub async fn arrive(&self, claim: &Claim) -> String {
        self.done(async |session| session.arrive(claim).await, "arrive")
            .await
    }

    pub async fn swapped(&self, claim: &Claim) -> String {
        self.done(async |session| session.swapped(claim).await, "swapped")
            .await
    }

    pub async fn report(&self, procedure: &str, claim: &Claim) -> String {
        self.done(
            async |session| session.report(procedure, claim).await,
            procedure,
        )
        .await
    }

    /// A failure that is worth a retry.
    pub async fn fail_for_now(&self, claim: &Claim) -> String {
        self.done(
            async |session| session.fail(claim, "connection lost", 1).await,
            "fail",
        )
        .await
    }

    pub async fn fail_for_good(&self, claim: &Claim) -> String {
        self.done(
            async |session| session.fail(claim, "duplicate key", 0).await,
            "fail",
        )
        .await
    }

    pub async fn release(&self, claim: &Claim) -> bool {
        self.done(async |session| session.release(claim).await, "release")
            .await
    }

    async fn done<T>(&self, act: impl AsyncFnOnce(&mut Session) -> Outcome<T>, what: &str) -> T {
        let outcome = act(&mut *self.sql().await).await;
        let value = outcome.unwrap_or_else(|refusal| panic!("{what}: {refusal:?}"));
        self.check().await;
        value
    }
}
