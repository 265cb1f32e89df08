//! Child processes that end with the stack.

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;

/// The signal that a child receives when the stack ends, even by `kill -9`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnOrphaned {
    /// `SIGKILL`.
    Kill,
    /// `SIGINT`, on which Postgres shuts down fast and cleanly.
    Interrupt,
}

/// Configures a child to run in its own process group and to end with the stack.
///
/// The group keeps a Ctrl-C in the terminal from reaching the child: the stack stops its children itself. On Linux the
/// kernel sends the signal when the thread that started the child ends, so start children only from Tokio's worker
/// threads, which live as long as the stack. On other systems a function exits when its Runtime API closes.
pub(crate) fn tie(command: &mut Command, orphaned: OnOrphaned) {
    command.process_group(0).kill_on_drop(true);
    #[cfg(target_os = "linux")]
    {
        let signal = match orphaned {
            OnOrphaned::Kill => Signal::KILL,
            OnOrphaned::Interrupt => Signal::INT,
        };
        // std runs these closures after `setuid`, which would clear the setting.
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

/// Kills a process group that [`tie`] created. Does nothing if it has ended.
pub(crate) fn kill_group(pid: u32) {
    signal_group(pid, Signal::KILL);
}

/// Sends a signal to a process group that [`tie`] created.
pub(crate) fn signal_group(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // An error means that the group has already ended.
        let _ = kill_process_group(pid, signal);
    }
}
