//! What the kernel knows of processes: CPU time in nanoseconds, and memory.

use std::fs;
use std::time::Duration;

/// Returns the CPU time of a process's living threads.
///
/// From `schedstat`, which counts nanoseconds; `stat` counts in hundredths of a second.
pub fn cpu_of(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanoseconds: u64 = tasks
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(nanoseconds)
}

/// Returns the CPU time of a process, its children, and the children that it has already waited for.
pub fn cpu_of_family(pid: u32) -> Duration {
    let waited_for = || stat(pid).map_or(Duration::ZERO, |stat| stat.waited_for);
    loop {
        let before = waited_for();
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let is_family = |other: &u32| *other == pid || stat(*other).is_some_and(|stat| stat.parent == pid);
        let living: Duration = pids.filter(is_family).map(cpu_of).sum();
        // A child that ended meanwhile may have been counted twice.
        if waited_for() == before {
            return living + before;
        }
    }
}

/// Returns the most memory that a process has held, in KiB.
pub fn peak_memory_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

struct Stat {
    parent: u32,
    waited_for: Duration,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; after it come state, parent, … as proc(5) numbers them from 3.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(13)?.parse::<u64>().ok()? + fields.get(14)?.parse::<u64>().ok()?;
    // A tick is a hundredth of a second wherever Linux runs (USER_HZ).
    Some(Stat { parent: fields.get(1)?.parse().ok()?, waited_for: Duration::from_millis(ticks * 10) })
}
