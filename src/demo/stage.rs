//! From the submit to the end of the last swap: looks at the views, shows them, and kills a driver in mid-copy.

use std::time::Instant;

use anyhow::bail;
use sqlx::MySqlConnection;

use super::LOOK;
use super::drivers::Drivers;
use super::screen::Screen;
use super::servers::Fleet;
use super::sizes::Sizes;
use crate::load::Running;
use crate::progress::{self, Operation};

pub(super) struct Watch<'a> {
    pub fleet: &'a Fleet,
    pub sizes: &'a Sizes,
    pub screen: &'a Screen,
    pub traffic: &'a [Running],
    pub apply_id: u64,
}

/// Where the story of the killed driver is.
enum Kill {
    Pending,
    Done { at: Instant },
    Replaced,
}

impl Watch<'_> {
    /// Until every operation is settled, and as it should be.
    pub async fn until_settled(&self, drivers: &mut Drivers) -> anyhow::Result<()> {
        let start = Instant::now();
        let mut control = self.fleet.control.connect().await?;
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut kill = Kill::Pending;
        loop {
            look.tick().await;
            let operations = progress::operations(&mut control, self.apply_id).await?;
            self.screen.show(&operations, self.traffic);
            kill = self.tell_kill(kill, &operations, drivers).await?;
            if self.is_over(&mut control).await? {
                if matches!(kill, Kill::Pending) {
                    bail!(
                        "the copies were over before a driver could be killed in one; use more rows"
                    );
                }
                return Ok(());
            }
            if let Some(ended) = drivers.ended() {
                bail!("{ended}");
            }
            if start.elapsed() > self.sizes.deadline {
                bail!(
                    "the rollout was not over after {} s",
                    self.sizes.deadline.as_secs()
                );
            }
        }
    }

    async fn is_over(&self, control: &mut MySqlConnection) -> anyhow::Result<bool> {
        let stand = progress::apply(control, self.apply_id).await?;
        let Some(stand) = stand else {
            bail!("apply {} is gone from the views", self.apply_id);
        };
        if stand.is_over && stand.state == "completed" {
            return Ok(true);
        }
        if stand.is_over || stand.moving == 0 {
            let error = stand.error.unwrap_or_default();
            bail!("the apply is {}: {error}", stand.state);
        }
        Ok(false)
    }

    async fn tell_kill(
        &self,
        kill: Kill,
        operations: &[Operation],
        drivers: &mut Drivers,
    ) -> anyhow::Result<Kill> {
        match kill {
            Kill::Pending => {
                let victim = operations.iter().find_map(|operation| {
                    let is_copying = operation.phase.as_deref() == Some("copy")
                        && (self.sizes.kill_at_percent..100.0).contains(&operation.percent);
                    operation
                        .driver
                        .as_ref()
                        .filter(|_| is_copying)
                        .map(|driver| (operation, driver))
                });
                let Some((operation, driver)) = victim else {
                    return Ok(Kill::Pending);
                };
                drivers.kill(driver).await?;
                self.screen.note(&format!(
                    "SIGKILL for {driver}, which has copied {:.0} % of {}",
                    operation.percent, operation.deployment
                ));
                Ok(Kill::Done { at: Instant::now() })
            }
            Kill::Done { at } if at.elapsed() >= self.sizes.replace_after => {
                let name = drivers.start_one()?;
                self.screen.note(&format!("started {name} in its place"));
                Ok(Kill::Replaced)
            }
            Kill::Done { .. } | Kill::Replaced => Ok(kill),
        }
    }
}

/// When the change was asked for, in microseconds since 1970.
pub(super) async fn submitted_micros(
    control: &mut MySqlConnection,
    apply_id: u64,
) -> Result<u64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT CAST(UNIX_TIMESTAMP(a.submitted_at) * 1000000 AS UNSIGNED) FROM apply_status AS a WHERE a.apply_id = ?",
    )
    .bind(apply_id)
    .fetch_one(control)
    .await
}
