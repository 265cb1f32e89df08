//! Child processes that never outlive the stack.

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;

/// What a child gets when the stack is gone, even by `kill -9`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnOrphaned {
    /// `SIGKILL`.
    Kill,
    /// `SIGINT`: for Postgres a fast and clean shutdown.
    Interrupt,
}

/// Puts the child in a process group of its own (a Ctrl-C in the terminal is the stack's to handle), and ties its
/// life to the stack's.
///
/// On Linux the kernel sends the signal when the thread that started the child ends, so a child must be started
/// from a thread that lives as long as the stack: the runtime's own workers do. Elsewhere a function ends by
/// itself when its Runtime API is gone.
pub(crate) fn tie(command: &mut Command, orphaned: OnOrphaned) {
    command.process_group(0).kill_on_drop(true);
    #[cfg(target_os = "linux")]
    {
        let signal = match orphaned {
            OnOrphaned::Kill => Signal::KILL,
            OnOrphaned::Interrupt => Signal::INT,
        };
        // After `uid`, which would clear it: std runs these closures last.
        #[expect(
            unsafe_code,
            reason = "`pre_exec` is unsafe; the closure is one async-signal-safe system call"
        )]
        unsafe {
            command.pre_exec(move || Ok(rustix::process::set_parent_process_death_signal(Some(signal))?));
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = orphaned;
}

/// Kills the group that [`tie`] made; nothing happens if it is gone.
pub(crate) fn kill_group(pid: u32) {
    signal_group(pid, Signal::KILL);
}

/// Sends a signal to the group that [`tie`] made.
pub(crate) fn signal_group(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // An error means that it is gone.
        let _ = kill_process_group(pid, signal);
    }
}
