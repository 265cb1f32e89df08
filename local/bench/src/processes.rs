//! CPU time and memory of processes, from the kernel.

use std::fs;
use std::time::Duration;

/// Returns the CPU time of a process's running threads.
///
/// Uses `schedstat`, which has nanoseconds; `stat` has hundredths of a second.
pub fn cpu_of(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanoseconds: u64 = tasks
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(nanoseconds)
}

/// Returns the CPU time of a process and its children, including those that have exited.
pub fn cpu_of_family(pid: u32) -> Duration {
    let waited_for = || stat(pid).map_or(Duration::ZERO, |stat| stat.waited_for);
    loop {
        let before = waited_for();
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let is_family = |other: &u32| *other == pid || stat(*other).is_some_and(|stat| stat.parent == pid);
        let living: Duration = pids.filter(is_family).map(cpu_of).sum();
        // A child that exited in the meantime may have been counted twice. Read again.
        if waited_for() == before {
            return living + before;
        }
    }
}

/// Returns the peak memory of a process, in KiB.
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
    // The name in parentheses may contain any character. After it come the fields from number 3 of proc(5).
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(13)?.parse::<u64>().ok()? + fields.get(14)?.parse::<u64>().ok()?;
    // A tick is a hundredth of a second on all Linux systems (USER_HZ).
    Some(Stat { parent: fields.get(1)?.parse().ok()?, waited_for: Duration::from_millis(ticks * 10) })
}
