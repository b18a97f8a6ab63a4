//! The sizes and times of the demo: two to five minutes on two cores.

use std::time::Duration;

pub(super) struct Sizes {
    pub deployments: usize,
    pub rows: u64,
    pub writers: u32,
    /// On each deployment, all of its writers together.
    pub writes_per_second: u32,
    /// Traffic without a change, to compare with.
    pub quiet: Duration,
    /// Traffic after the last swap.
    pub after: Duration,
    /// Short, so that a killed driver's work is soon taken over.
    pub lease_ttl_seconds: u32,
    /// Drivers with nothing to do ask again after this.
    pub poll_seconds: u32,
    /// 0 to 10, by `apply_throttle`: at full speed the copies would be over before anybody has looked.
    pub throttle_level: u8,
    /// The first driver whose copy has come this far is killed.
    pub kill_at_percent: f64,
    /// How long the others are alone before a new driver comes.
    pub replace_after: Duration,
    /// The rollout has come to its end by then, or has failed.
    pub deadline: Duration,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            deployments: 3,
            rows: 200_000,
            writers: 4,
            writes_per_second: 150,
            quiet: Duration::from_secs(8),
            after: Duration::from_secs(4),
            lease_ttl_seconds: 6,
            poll_seconds: 1,
            throttle_level: 6,
            kill_at_percent: 20.0,
            replace_after: Duration::from_secs(3),
            deadline: Duration::from_secs(480),
        }
    }
}
