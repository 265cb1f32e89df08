//! Processes and optional programs on the machine that runs the tests.

use std::io::Write;
use std::path::{Path, PathBuf};
use sysinfo::{ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind};

/// Returns the command lines of running processes that contain `folder`.
#[must_use]
pub fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_string_lossy();
    let mut system = System::new().unwrap();
    let kind = ProcessRefreshKind::nothing().with_cmd(UpdateKind::Always).without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
    let running = system.processes().values().filter(|process| process.status() != ProcessStatus::Zombie);
    running
        .map(|process| {
            let arguments: Vec<_> = process.cmd().iter().map(|argument| argument.to_string_lossy()).collect();
            format!("{} {}", process.pid(), arguments.join(" "))
        })
        .filter(|line| line.contains(&*folder))
        .collect()
}

/// Returns the Python in `TEST_PYTHON`, with the packages of `local/requirements-tests.txt`. `make test` sets it.
/// Without it, prints that the test is skipped.
#[must_use]
pub fn python(test: &str) -> Option<PathBuf> {
    let python = std::env::var_os("TEST_PYTHON").map(PathBuf::from).filter(|python| python.exists());
    if python.is_none() {
        skipped(test, "it needs Python, which `make test` sets up where python3 and venv are installed");
    }
    python
}

/// Returns the folder in `TEST_NODE_MODULES`, with the npm packages of the `Makefile`. `make test` sets it. Without it,
/// prints that the test is skipped.
#[must_use]
pub fn node_modules(test: &str) -> Option<PathBuf> {
    let modules = std::env::var_os("TEST_NODE_MODULES").map(PathBuf::from).filter(|path| path.exists());
    if modules.is_none() {
        skipped(
            test,
            "it needs Node.js, for which `make test` installs packages where node and npm are installed",
        );
    }
    modules
}

/// Prints on the terminal that a test is skipped, because the machine lacks something optional.
pub fn skipped(test: &str, missing: &str) {
    // Not `eprintln!`, which the test harness captures.
    let _ = writeln!(std::io::stderr(), "\nSKIPPED {test}: {missing}");
}
