//! A DBA's commands.

use serde_json::Value;

use super::{Apply, Fleet};
use crate::support::control::{Answer, Argument, Outcome};

impl Fleet {
    pub async fn command(&self, procedure: &str, arguments: &[Argument]) -> Outcome<Answer> {
        let answer = self.sql().await.command(procedure, arguments).await;
        self.check().await;
        answer
    }

    pub async fn try_stop(&self, apply: &Apply) -> Outcome<Answer> {
        self.command("apply_stop", arguments![apply.id, "peak hour"])
            .await
    }

    pub async fn stop(&self, apply: &Apply) -> Answer {
        self.try_stop(apply).await.expect("stop")
    }

    pub async fn try_start(&self, apply: &Apply) -> Outcome<Answer> {
        self.command("apply_start", arguments![apply.id, "quiet again"])
            .await
    }

    pub async fn start(&self, apply: &Apply) -> Answer {
        self.try_start(apply).await.expect("start")
    }

    pub async fn try_cancel(&self, apply: &Apply) -> Outcome<Answer> {
        self.command("apply_cancel", arguments![apply.id, "wrong index"])
            .await
    }

    pub async fn cancel(&self, apply: &Apply) -> Answer {
        self.try_cancel(apply).await.expect("cancel")
    }

    pub async fn try_release_pause(&self, apply: &Apply) -> Outcome<Answer> {
        self.command("apply_release", arguments![apply.id, "cell is rebuilt"])
            .await
    }

    pub async fn release_pause(&self, apply: &Apply) -> Answer {
        self.try_release_pause(apply).await.expect("release")
    }

    pub async fn try_cutover(&self, apply: &Apply, options: Value) -> Outcome<Answer> {
        self.command("apply_cutover", arguments![apply.id, options, "go"])
            .await
    }

    pub async fn cutover(&self, apply: &Apply) -> Answer {
        self.try_cutover(apply, Value::Null).await.expect("cutover")
    }

    pub async fn try_revert(&self, apply: &Apply, options: Value) -> Outcome<Answer> {
        self.command("apply_revert", arguments![apply.id, options, "slow plans"])
            .await
    }

    pub async fn revert(&self, apply: &Apply) -> Answer {
        self.try_revert(apply, Value::Null).await.expect("revert")
    }

    pub async fn try_skip_revert(&self, apply: &Apply) -> Outcome<Answer> {
        self.command("apply_skip_revert", arguments![apply.id, "all is well"])
            .await
    }

    pub async fn skip_revert(&self, apply: &Apply) -> Answer {
        self.try_skip_revert(apply).await.expect("skip_revert")
    }
}
