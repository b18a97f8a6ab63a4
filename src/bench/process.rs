//! What a process of this machine has used so far.

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// User and system time of all of its threads, in seconds.
pub(super) fn cpu_seconds(pid: u32) -> Option<f64> {
    let pid = Pid::from_u32(pid);
    let mut system = System::new();
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&[pid]),
        false,
        ProcessRefreshKind::nothing().with_cpu(),
    );
    let process = system.process(pid)?;
    Some(process.accumulated_cpu_time() as f64 / 1000.0)
}

/// The most memory that it ever held at once, in megabytes; `None` where the kernel doesn't tell.
pub(super) fn peak_megabytes(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes / 1024.0)
}
